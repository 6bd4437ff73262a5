//! The OpenAPI document, made from the table of routes.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::answer::Written;
use super::asked::Asked;
use super::error::{ErrorDocument, Failure};
use super::route::{Access, Reach, Route};
use super::{PREFIX, table};

/// Statuses of failures that any route may answer; what each means stands in the table of error codes.
const FAILURES: &[u16] = &[400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 429, 500, 501, 502, 503, 504];

/// The document as JSON: OpenAPI 3.1, whose schemas are JSON Schema 2020-12.
///
/// ```
/// let document = ringfence_server::api::document();
/// assert_eq!(document["openapi"], "3.1.0");
/// assert!(document["paths"]["/api/v1/plugins"]["get"].is_object());
/// ```
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut answers = settings.clone().for_serialize().into_generator();
    let mut bodies = settings.for_deserialize().into_generator();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let failure = answers.subschema_for::<ErrorDocument>();
    for route in table::routes() {
        let method = route.method.as_str().to_lowercase();
        let operation = operation(&route, &mut answers, &mut bodies);
        paths.entry(format!("{PREFIX}{}", route.path)).or_default().insert(method, operation);
    }
    let mut schemas = answers.take_definitions(true);
    for (name, schema) in bodies.take_definitions(true) {
        schemas.entry(name).or_insert(schema);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ringfence",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Install, consent, call, watch and revoke plugins. Every failure is one document with a stable code.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Failure": {
                "description": "It was refused or failed; `code` says how, `hint` what to do.",
                "content": {"application/json": {"schema": failure}},
            }},
        },
    })
}

pub(super) async fn served(asked: Asked<(), ()>) -> Result<Written<Value>, Failure> {
    Ok(Written::new(asked.api.document()))
}

fn operation(route: &Route, answers: &mut SchemaGenerator, bodies: &mut SchemaGenerator) -> Value {
    let mut parameters = path_parameters(route.path);
    parameters.extend((route.query)(bodies).map(query_parameters).unwrap_or_default());
    parameters.extend(route.headers.iter().map(|(name, meaning)| {
        json!({
            "name": name, "in": "header", "required": false, "description": meaning,
            "schema": {"type": "string", "pattern": "^[!-~]{1,256}$"},
        })
    }));
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "description": described(route),
        "parameters": parameters,
        "responses": responses(route, answers),
    });
    if let (Some(media), Some(schema)) = (route.body.media, (route.body.schema)(bodies))
        && let Some(fields) = operation.as_object_mut()
    {
        let mut content = Map::from_iter([(media.to_owned(), json!({"schema": schema}))]);
        // OpenAPI 3.1: without a type, the bytes are what they are.
        content.extend(route.binary.iter().map(|media| ((*media).to_owned(), json!({}))));
        let body = json!({"required": true, "content": content});
        fields.insert("requestBody".to_owned(), body);
    }
    if route.access == Access::Open
        && let Some(fields) = operation.as_object_mut()
    {
        fields.insert("security".to_owned(), json!([{}, {"token": []}]));
    }
    operation
}

fn described(route: &Route) -> String {
    let role = match route.access {
        Access::Open => "No token is needed.".to_owned(),
        Access::Role(role) => format!("Takes the role `{role}`."),
    };
    let reach = match route.reach {
        Reach::Named => " A token of one plugin may use it for that plugin.",
        Reach::Filtered => " A token of one plugin is answered about that plugin.",
        Reach::Whole => " A token of one plugin may not use it.",
    };
    format!("{role}{reach}")
}

fn responses(route: &Route, answers: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let mut answer = json!({"description": route.summary});
    if let (Some(media), Some(schema)) = (route.answer.media, (route.answer.schema)(answers)) {
        answer = json!({"description": route.summary, "content": {media: {"schema": schema}}});
    }
    responses.insert(route.answer.status.to_string(), answer);
    for status in FAILURES {
        responses.insert(status.to_string(), json!({"$ref": "#/components/responses/Failure"}));
    }
    Value::Object(responses)
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let schema = match name {
                "name" => json!({"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 100}),
                "event" => json!({"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$"}),
                _ if path.starts_with("/runs/") => json!({"type": "integer", "minimum": 1}),
                _ => json!({"type": "string", "minLength": 1}),
            };
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        })
        .collect()
}

fn query_parameters(schema: Schema) -> Vec<Value> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    properties
        .iter()
        .map(|(name, property)| {
            let mut schema = property.clone();
            let meaning = schema.as_object_mut().and_then(|fields| fields.remove("description"));
            json!({"name": name, "in": "query", "required": false, "description": meaning, "schema": schema})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_checked_in_document_is_the_one_of_these_routes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/openapi.json");
        let made = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("RINGFENCE_BLESS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == made,
            "schema/openapi.json is not what the routes say: run this test with RINGFENCE_BLESS=1"
        );
    }

    #[test]
    fn every_failure_that_there_is_is_in_the_document() {
        let known: HashSet<u16> = FAILURES.iter().copied().collect();
        let missing: Vec<_> = ringfence_api::ErrorCode::ALL
            .iter()
            .filter(|code| !known.contains(&code.http_status()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn operations_have_names_of_their_own_and_every_reference_leads_somewhere() {
        let document = document();
        let mut names = HashSet::new();
        for (_, methods) in document["paths"].as_object().unwrap() {
            for (_, operation) in methods.as_object().unwrap() {
                assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()));
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
