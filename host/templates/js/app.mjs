// What `wit/plugin.wit` exports.

export function greet(name) {
  return `Hello, ${name}!`;
}
