//! The exports of `wit/plugin.wit`.

wit_bindgen::generate!({ world: "plugin", path: "wit", generate_all });

struct Plugin;

impl Guest for Plugin {
    fn greet(name: String) -> String {
        greeting(&name)
    }
}

export!(Plugin);

fn greeting(name: &str) -> String {
    format!("Hello, {name}!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name() {
        assert_eq!(greeting("Zoe"), "Hello, Zoe!");
    }
}
