// The exports of `wit/plugin.wit`.

export function greet(name) {
  return `Hello, ${name}!`;
}
