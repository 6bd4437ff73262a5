/*
 * Statistics of the numeric columns of a CSV text or file. Speaks the plugin protocol with the C library only.
 *
 * The reader below walks JSON instead of searching for names in it, so a text that looks like a message cannot confuse it.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 1000, NAME_MAX_BYTES = 200, DEPTH_MAX = 64 };
#define FILE_MAX_BYTES (16L * 1024 * 1024)

/* ---- reading JSON ------------------------------------------------------------------------------------------------- */

static const char *blanks(const char *at) {
    return at + strspn(at, " \t\r\n");
}

/* Behind the text that begins at `at`, or NULL. */
static const char *skip_text(const char *at) {
    for (at++; *at != '"'; at++) {
        if (*at == '\0') return NULL;
        if (*at == '\\' && *++at == '\0') return NULL;
    }
    return at + 1;
}

/* Behind the value that begins at `at`, or NULL. */
static const char *skip(const char *at, int depth) {
    char close;
    if (depth > DEPTH_MAX) return NULL;
    if (*at == '"') return skip_text(at);
    if (*at != '{' && *at != '[') {
        const char *end = at + strcspn(at, ",]} \t\r\n");
        return end > at ? end : NULL;
    }
    close = *at == '{' ? '}' : ']';
    at = blanks(at + 1);
    while (*at != close) {
        if (close == '}') {
            if (*at != '"' || !(at = skip_text(at))) return NULL;
            at = blanks(at);
            if (*at++ != ':') return NULL;
            at = blanks(at);
        }
        if (!(at = skip(at, depth + 1))) return NULL;
        at = blanks(at);
        if (*at == ',') at = blanks(at + 1);
        else if (*at != close) return NULL;
    }
    return at + 1;
}

/* The value of a member of the object that begins at `at`, or NULL. */
static const char *member(const char *at, const char *name) {
    size_t length = strlen(name);
    if (!at || *at != '{') return NULL;
    for (at = blanks(at + 1); *at == '"'; at = blanks(*at == ',' ? at + 1 : at)) {
        const char *key = at + 1;
        if (!(at = skip_text(at))) return NULL;
        int same = (size_t)(at - 1 - key) == length && strncmp(key, name, length) == 0;
        at = blanks(at);
        if (*at++ != ':') return NULL;
        at = blanks(at);
        if (same) return at;
        if (!(at = skip(at, 1))) return NULL;
        at = blanks(at);
    }
    return NULL;
}

static int is(const char *at, const char *text) {
    size_t length = strlen(text);
    return at && *at == '"' && strncmp(at + 1, text, length) == 0 && at[length + 1] == '"';
}

static int hex4(const char *at) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        if (!isxdigit((unsigned char)at[i])) return -1;
        value = value * 16 + (isdigit((unsigned char)at[i]) ? at[i] - '0' : tolower(at[i]) - 'a' + 10);
    }
    return value;
}

static char *put_utf8(char *out, int code) {
    if (code < 0x80) *out++ = (char)code;
    else if (code < 0x800) { *out++ = (char)(0xC0 | code >> 6); *out++ = (char)(0x80 | (code & 63)); }
    else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12); *out++ = (char)(0x80 | (code >> 6 & 63)); *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xF0 | code >> 18); *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63)); *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

/* The text that begins at `at`, unescaped, to be freed; NULL when there is none. Never longer than its JSON. */
static char *text_of(const char *at) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *end = at && *at == '"' ? skip_text(at) : NULL;
    char *text, *out;
    if (!end || !(text = out = malloc((size_t)(end - at)))) return NULL;
    for (at++; at < end - 1; at++) {
        const char *plain;
        if (*at != '\\') { *out++ = *at; continue; }
        at++;
        if ((plain = strchr(from, *at)) && *at) *out++ = to[plain - from];
        else if (*at == 'u') {
            int code = hex4(at + 1);
            if (code < 0) { free(text); return NULL; }
            at += 4;
            if (code >= 0xD800 && code < 0xDC00 && at[1] == '\\' && at[2] == 'u') {
                int low = hex4(at + 3);
                if (low >= 0xDC00 && low < 0xE000) { code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00; at += 6; }
            }
            out = put_utf8(out, code ? code : ' ');
        }
    }
    *out = '\0';
    return text;
}

/* ---- writing JSON ------------------------------------------------------------------------------------------------- */

static void write_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c < 0x20) printf("\\u%04x", c);
        else putchar(c);
    }
    putchar('"');
}

static void write_error(int code, const char *word, const char *message) {
    printf("\"error\":{\"code\":%d,\"message\":", code);
    write_text(message);
    printf(",\"data\":{\"code\":\"%s\"}}", word);
}

/* ---- statistics --------------------------------------------------------------------------------------------------- */

struct column {
    char name[NAME_MAX_BYTES + 1];
    long count;
    double sum, least, greatest;
};

/* Takes one field off `*at` into `field`; what ended it is returned: ',' '\n' or '\0'. */
static int next_field(char **at, char **field) {
    char *in = *at, *out = *at;
    *field = out;
    if (*in == '"') {
        for (in++; *in; *out++ = *in++)
            if (*in == '"' && *++in != '"') break;
    }
    while (*in && *in != ',' && *in != '\n') *out++ = *in++;
    int ended_by = *in;
    *at = *in ? in + 1 : in;
    if (out > *field && out[-1] == '\r') out--;
    *out = '\0';
    return ended_by;
}

static void add(struct column *column, const char *field) {
    char *end;
    double value = strtod(field, &end);
    if (end == field || *blanks(end) || !isfinite(value)) return;
    column->sum += value;
    if (column->count == 0 || value < column->least) column->least = value;
    if (column->count == 0 || value > column->greatest) column->greatest = value;
    column->count++;
}

static void write_columns(const struct column *columns, int count, long rows) {
    int first = 1;
    printf("\"result\":{\"rows\":%ld,\"columns\":{", rows);
    for (int i = 0; i < count; i++) {
        const struct column *one = &columns[i];
        if (one->count == 0 || !isfinite(one->sum)) continue;
        if (!first) putchar(',');
        first = 0;
        write_text(one->name);
        printf(":{\"count\":%ld,\"sum\":%.15g,\"mean\":%.15g,\"least\":%.15g,\"greatest\":%.15g}", one->count, one->sum,
               one->sum / (double)one->count, one->least, one->greatest);
    }
    printf("}}");
}

static void statistics(char *csv) {
    struct column *columns = calloc(COLUMNS_MAX, sizeof *columns);
    int count = 0, ended_by;
    long rows = 0;
    char *field;
    if (!columns) { write_error(-32603, "internal", "out of memory"); return; }
    do {
        ended_by = next_field(&csv, &field);
        if (count < COLUMNS_MAX) {
            size_t length = strnlen(field, NAME_MAX_BYTES);
            while (length && length == NAME_MAX_BYTES && (field[length] & 0xC0) == 0x80) length--; /* no half character */
            memcpy(columns[count].name, field, length);
            count++;
        }
    } while (ended_by == ',');
    while (*csv) {
        int index = 0;
        do {
            ended_by = next_field(&csv, &field);
            if (index < count) add(&columns[index], field);
            index++;
        } while (ended_by == ',');
        rows++;
    }
    write_columns(columns, count, rows);
    free(columns);
}

/* The file's content, to be freed; on failure the error is written and NULL returned. */
static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    char *content = file ? malloc(FILE_MAX_BYTES + 1) : NULL;
    if (!content) {
        /* From these two members the host finds out which grant is missing. */
        printf("\"error\":{\"code\":-31008,\"message\":");
        write_text(strerror(errno));
        printf(",\"data\":{\"code\":\"plugin_failed\",\"type\":\"OSError\",\"operation\":\"read\",\"object\":");
        write_text(path);
        printf("}}");
        if (file) fclose(file);
        return NULL;
    }
    size_t length = fread(content, 1, FILE_MAX_BYTES, file);
    if (ferror(file) || !feof(file)) {
        write_error(-31005, "too_large", "the file cannot be read, or is larger than 16 MiB");
        free(content);
        content = NULL;
    } else {
        content[length] = '\0';
    }
    fclose(file);
    return content;
}

static void call(const char *params) {
    const char *arguments = member(params, "arguments");
    char *text, *path;
    if (!is(member(params, "tool"), "columns")) { write_error(-32602, "invalid_params", "no such tool"); return; }
    text = text_of(member(arguments, "text"));
    path = text_of(member(arguments, "path"));
    if (!text && path) text = read_file(path);
    else if (!text) text = strdup("");
    if (text) statistics(text);
    free(text);
    free(path);
}

int main(void) {
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        const char *message = blanks(line), *id = member(message, "id"), *method = member(message, "method");
        if (!id || !method || !isdigit((unsigned char)*id)) continue; /* a notification, or nothing for us */
        printf("{\"jsonrpc\":\"2.0\",\"id\":%ld,", atol(id));
        if (is(method, "initialize")) printf("\"result\":{\"protocol_version\":\"1\",\"tools\":[\"columns\"]}");
        else if (is(method, "call")) call(member(message, "params"));
        else if (is(method, "ping") || is(method, "shutdown") || is(method, "config_changed")) printf("\"result\":null");
        else write_error(-32601, "not_found", "no such method");
        printf("}\n");
        fflush(stdout);
    }
    free(line);
    return 0;
}
