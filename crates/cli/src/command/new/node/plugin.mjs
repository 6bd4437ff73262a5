// {{name}}: a plugin for Ringfence.
//
// A tool is an exported function of the tool's name. It gets the arguments, which fit the tool's input_schema, and returns
// any JSON value or a promise of one. What it prints goes to the plugin's log.

export function greet({ name = 'world' }) {
  return { greeting: `Hello, ${name}!` };
}
