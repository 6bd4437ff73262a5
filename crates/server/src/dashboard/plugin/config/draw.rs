//! The form of a configuration, drawn: each field with its help, its bounds and what is wrong with it.

use std::collections::BTreeMap;

use maud::{Markup, html};
use ringfence::plugin::PluginDetails;
use serde_json::{Map, Value};

use super::super::super::ROOT;
use super::super::super::form::Form;
use super::super::super::seen::Seen;
use super::super::super::text::{LONG_MAX_CHARS, is_inert, long, plain, shown};
use super::WHOLE;
use super::read::{OTHERS, Wrong, forget_name, json_name_of, last_of, name_of};
use super::tree::{Control, Field, Item};

/// A form with what stands in it.
pub(super) struct Filled<'a> {
    fields: &'a [Field],
    /// What is typed, by pointer; where nothing is, the value.
    typed: BTreeMap<String, String>,
    values: &'a Value,
    /// What is stored, for secrets and after a conflict.
    stored: &'a Value,
    others: String,
    version: &'a str,
    wrong: Wrong,
    shows_stored: bool,
}

impl<'a> Filled<'a> {
    /// The form of what is stored.
    pub(super) fn stored(fields: &'a [Field], config: &'a Value, version: &'a str) -> Self {
        let others = others(fields, config);
        Self {
            fields,
            typed: BTreeMap::new(),
            values: config,
            stored: config,
            others,
            version,
            wrong: Wrong::new(),
            shows_stored: false,
        }
    }

    /// The form as it was sent.
    pub(super) fn typed(
        fields: &'a [Field],
        form: &Form,
        values: &'a Value,
        stored: &'a Value,
        version: &'a str,
        wrong: &Wrong,
        shows_stored: bool,
    ) -> Self {
        let mut typed = BTreeMap::new();
        gather(fields, form, &mut typed);
        let others = inert_json(form.text(OTHERS).unwrap_or_default());
        Self { fields, typed, values, stored, others, version, wrong: wrong.clone(), shows_stored }
    }

    /// What stands in a field of text.
    fn text(&self, field: &Field) -> String {
        if let Some(typed) = self.typed.get(&field.pointer) {
            // What a line cannot show becomes JSON where it is drawn; all else that was typed shows itself here already.
            return match &field.control {
                Control::Text | Control::Lines(_) => typed.clone(),
                Control::Json => inert_json(typed),
                _ => plain(typed, LONG_MAX_CHARS).0,
            };
        }
        match (self.values.pointer(&field.pointer), &field.control) {
            (None, _) => String::new(),
            (Some(Value::String(text)), Control::Text) => text.clone(),
            (Some(Value::Array(items)), Control::Lines(item)) => {
                items.iter().map(|one| plain_text(one, *item)).collect::<Vec<_>>().join("\n")
            }
            (Some(value), Control::Json) => json_text(value),
            (Some(value), _) => value.to_string(),
        }
    }
}

fn plain_text(value: &Value, item: Item) -> String {
    match (value, item) {
        (Value::String(text), Item::Text) => text.clone(),
        (other, _) => other.to_string(),
    }
}

/// Whether a list stands one a line, without a line end in one of them.
fn fits_lines(value: Option<&Value>, item: Item) -> bool {
    let Some(value) = value else { return true };
    let Some(items) = value.as_array() else { return false };
    items.iter().all(|one| match (one, item) {
        (Value::String(text), Item::Text) => !text.contains(['\n', '\r']) && !text.trim().is_empty(),
        (Value::Number(_), Item::Integer | Item::Number) => true,
        _ => false,
    })
}

/// What was typed into fields that hold text.
fn gather(fields: &[Field], form: &Form, typed: &mut BTreeMap<String, String>) {
    for field in fields {
        match &field.control {
            Control::Object(fields) => gather(fields, form, typed),
            Control::Secret | Control::Boxes(_) => {}
            _ => {
                if let Some(text) = form.text(&name_of(&field.pointer)) {
                    typed.insert(field.pointer.clone(), text.to_owned());
                }
            }
        }
    }
}

/// The members of a configuration that no field stands for, as JSON.
fn others(fields: &[Field], config: &Value) -> String {
    let known: Vec<String> = fields.iter().map(|field| last_of(&field.pointer)).collect();
    let others: Map<String, Value> = config
        .as_object()
        .map(|all| {
            all.iter()
                .filter(|(name, _)| !known.contains(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        })
        .unwrap_or_default();
    if others.is_empty() { String::new() } else { json_text(&Value::Object(others)) }
}

pub(super) fn draw_form(seen: &Seen, details: &PluginDetails, filled: &Filled<'_>) -> Markup {
    let may = seen.may("setConfig");
    let name = &details.name;
    let misplaced: Vec<&String> = filled
        .wrong
        .iter()
        .filter(|(pointer, _)| !has(filled.fields, pointer) && pointer.as_str() != OTHERS)
        .flat_map(|(_, messages)| messages)
        .collect();
    let fields = html! {
        input type="hidden" name="version" value=(filled.version);
        @if !misplaced.is_empty() { ul.wrong { @for message in misplaced { li { (shown(message)) } } } }
        @for field in filled.fields { (draw(field, filled)) }
        @if !filled.others.is_empty() || filled.wrong.contains_key(OTHERS) {
            div.field {
                label for="others" { "Other settings, as JSON" }
                textarea id="others" name=(OTHERS) spellcheck="false" aria-invalid=[invalid(filled, OTHERS)] { (filled.others) }
                (messages(filled, OTHERS, "others"))
            }
        }
    };
    html! {
        section.card aria-labelledby="config" {
            h2 id="config" { "Configuration" }
            @if may {
                (seen.form(&format!("/plugins/{name}/config"), html! {
                    (fields)
                    p.row {
                        button.main type="submit" { "Save" }
                        a.faint href={ (ROOT) "/plugins/" (name) "/config?as=json" } { "Edit as JSON" }
                    }
                }))
            } @else {
                p.faint { "You can look at it; changing it takes the role admin." }
                fieldset.bare disabled { (fields) }
            }
        }
    }
}

fn has(fields: &[Field], pointer: &str) -> bool {
    fields.iter().any(|field| {
        field.pointer == pointer || matches!(&field.control, Control::Object(inner) if has(inner, pointer))
    })
}

pub(super) fn draw_json(
    seen: &Seen,
    details: &PluginDetails,
    text: &str,
    version: &str,
    has_form: bool,
) -> Markup {
    let name = &details.name;
    html! {
        section.card aria-labelledby="config" {
            h2 id="config" { "Configuration, as JSON" }
            p.faint {
                "A secret stands as ***, and stays what it is while it does. "
                @if has_form { a href={ (ROOT) "/plugins/" (name) "/config" } { "To the form" } }
            }
            @if seen.may("setConfig") {
                (seen.form(&format!("/plugins/{name}/config"), html! {
                    input type="hidden" name="version" value=(version);
                    label for=(WHOLE) { "The whole configuration" }
                    textarea.tall id=(WHOLE) name=(WHOLE) spellcheck="false" { (inert_json(text)) }
                    p.row { button.main type="submit" { "Save" } }
                }))
            } @else {
                pre { code { (long(text)) } }
            }
        }
    }
}

fn invalid(filled: &Filled<'_>, pointer: &str) -> Option<&'static str> {
    filled.wrong.contains_key(pointer).then_some("true")
}

/// A value as JSON for people: what does not show itself stands as its code, which is the same JSON.
pub(super) fn json_text(value: &Value) -> String {
    inert_json(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// JSON, as it was typed or written: what does not show itself stands as its code. In a text that is the same JSON.
fn inert_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Forms end lines so.
    for character in text.replace("\r\n", "\n").chars() {
        if is_inert(character) {
            out.push(character);
            continue;
        }
        // Outside of its strings JSON has no such character.
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

/// An id that a stranger's names cannot break.
fn id_of(pointer: &str) -> String {
    pointer.bytes().fold("field".to_owned(), |mut id, byte| {
        if byte.is_ascii_alphanumeric() {
            id.push(char::from(byte));
        } else {
            id.push('-');
            id.push_str(&format!("{byte:x}"));
        }
        id
    })
}

fn messages(filled: &Filled<'_>, pointer: &str, id: &str) -> Markup {
    html! {
        @for message in filled.wrong.get(pointer).into_iter().flatten() {
            p.wrong id={ (id) "-wrong" } { (shown(message)) }
        }
    }
}

fn draw(field: &Field, filled: &Filled<'_>) -> Markup {
    let id = id_of(&field.pointer);
    if let Control::Object(inner) = &field.control {
        return html! {
            fieldset {
                legend { (shown(&field.label)) (optional(field)) }
                @if let Some(help) = &field.help { p.faint { (shown(help)) } }
                (messages(filled, &field.pointer, &id))
                @for one in inner { (draw(one, filled)) }
            }
        };
    }
    if let Control::Boxes(choices) = &field.control {
        return boxes(field, choices, filled, &id);
    }
    html! {
        div.field {
            label for=(id) { (shown(&field.label)) (optional(field)) }
            (input(field, filled, &id))
            (help(field, &id))
            (messages(filled, &field.pointer, &id))
            (stored_now(field, filled))
        }
    }
}

fn optional(field: &Field) -> Markup {
    html! { @if !field.required { " " small.faint { "optional" } } }
}

fn help(field: &Field, id: &str) -> Markup {
    let default = field.default.as_ref().map(|value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    html! {
        p.faint id={ (id) "-help" } {
            @if let Some(help) = &field.help { (shown(help)) " " }
            @if let Control::Lines(_) = field.control { "One a line. " }
            @if let Some(bounds) = &field.bounds { "Must be " (shown(bounds)) ". " }
            @if let Some(default) = default { "Left empty: " code { (shown(&default)) } }
        }
    }
}

fn input(field: &Field, filled: &Filled<'_>, id: &str) -> Markup {
    let name = name_of(&field.pointer);
    let (wrong, text) = (invalid(filled, &field.pointer), filled.text(field));
    let about = format!("{id}-help{}", if wrong.is_some() { format!(" {id}-wrong") } else { String::new() });
    let lines_do_not_fit = matches!(&field.control, Control::Lines(item)
        if !filled.typed.contains_key(&field.pointer) && !fits_lines(filled.values.pointer(&field.pointer), *item));
    match &field.control {
        Control::Secret => secret(field, filled, id, &about, wrong),
        Control::Choice(choices) => {
            let chosen = filled.typed.get(&field.pointer).and_then(|typed| typed.parse::<usize>().ok());
            let chosen = chosen.or_else(|| {
                let value = filled.values.pointer(&field.pointer)?;
                choices.iter().position(|choice| choice == value)
            });
            html! {
                select id=(id) name=(name) aria-describedby=(about) aria-invalid=[wrong] {
                    option value="" { "— not set —" }
                    @for (number, choice) in choices.iter().enumerate() {
                        option value=(number) selected[chosen == Some(number)] { (choice_text(choice)) }
                    }
                }
            }
        }
        Control::Boolean => html! {
            select id=(id) name=(name) aria-describedby=(about) aria-invalid=[wrong] {
                option value="" { "— not set —" }
                option value="true" selected[text == "true"] { "Yes" }
                option value="false" selected[text == "false"] { "No" }
            }
        },
        Control::Integer | Control::Number => html! {
            input id=(id) name=(name) value=(text) inputmode="decimal" autocomplete="off"
                aria-describedby=(about) aria-invalid=[wrong];
        },
        Control::Text if !text.contains('\n') && text.chars().all(is_inert) => html! {
            input id=(id) name=(name) value=(text) autocomplete="off" aria-describedby=(about) aria-invalid=[wrong];
        },
        Control::Text | Control::Lines(_)
            if lines_do_not_fit || !text.chars().all(|one| is_inert(one) || one == '\r') =>
        {
            // What no line can hold, or what would not show itself, stands as JSON.
            let value = match (filled.typed.get(&field.pointer), filled.values.pointer(&field.pointer)) {
                (Some(typed), _) if matches!(field.control, Control::Text) => Value::String(typed.clone()),
                (Some(typed), _) => typed.lines().map(|line| Value::String(line.to_owned())).collect(),
                (None, value) => value.cloned().unwrap_or_default(),
            };
            html! {
                textarea id=(id) name=(json_name_of(&field.pointer)) spellcheck="false" aria-describedby=(about)
                    aria-invalid=[wrong] { (json_text(&value)) }
                p.faint { "As JSON: it holds characters that do not show themselves, or lines." }
            }
        }
        _ => html! {
            textarea id=(id) name=(name) spellcheck="false" aria-describedby=(about) aria-invalid=[wrong] { (text) }
        },
    }
}

fn choice_text(choice: &Value) -> Markup {
    let text = match choice {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    html! { (plain(&text, LONG_MAX_CHARS).0) }
}

fn secret(field: &Field, filled: &Filled<'_>, id: &str, about: &str, wrong: Option<&'static str>) -> Markup {
    let is_set = filled.stored.pointer(&field.pointer).is_some();
    let forget = forget_name(&field.pointer);
    html! {
        input id=(id) name=(name_of(&field.pointer)) type="password" autocomplete="new-password" aria-describedby=(about)
            aria-invalid=[wrong] placeholder=[is_set.then_some("Set. Leave it empty to keep it")];
        @if is_set && !field.required {
            p.choice {
                input type="checkbox" id={ (id) "-forget" } name=(forget) value="yes";
                label for={ (id) "-forget" } { "Remove it" }
            }
        }
    }
}

fn boxes(field: &Field, choices: &[Value], filled: &Filled<'_>, id: &str) -> Markup {
    let chosen = filled.values.pointer(&field.pointer).and_then(Value::as_array);
    let has = |choice: &Value| chosen.is_some_and(|chosen| chosen.contains(choice));
    html! {
        fieldset {
            legend { (shown(&field.label)) (optional(field)) }
            (help(field, id))
            @for (number, choice) in choices.iter().enumerate() {
                p.choice {
                    input type="checkbox" id={ (id) "-" (number) } name=(name_of(&field.pointer)) value=(number) checked[has(choice)];
                    label for={ (id) "-" (number) } { (choice_text(choice)) }
                }
            }
            (messages(filled, &field.pointer, id))
            (stored_now(field, filled))
        }
    }
}

/// After somebody else was faster: what is stored, where it is not what was typed.
fn stored_now(field: &Field, filled: &Filled<'_>) -> Markup {
    let (now, typed) = (filled.stored.pointer(&field.pointer), filled.values.pointer(&field.pointer));
    let differs = filled.shows_stored && now != typed && field.control != Control::Secret;
    let text = now.map_or_else(|| "not set".to_owned(), ToString::to_string);
    html! { @if differs { p.why { "Stored now: " code { (shown(&text)) } } } }
}
