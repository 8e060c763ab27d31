//! The settings as a TOML file: every one of them, those without a value as comments.

use super::Config;

/// Settings that may have no value, by table, each with an example.
const OPTIONAL: [(&str, &str, &str); 7] = [
    ("api", "tls_certificate", "\"PATH\""),
    ("api", "tls_key", "\"PATH\""),
    ("api", "default_publisher", "\"acme\""),
    ("api", "public_url", "\"https://models.example/prefix\""),
    ("admission", "weights", "{ acme = 2 }"),
    ("inference", "onnxruntime_library", "\"PATH\""),
    ("inference", "worker_program", "\"PATH\""),
];

impl Config {
    /// The settings as a TOML file that [`Config::read`] reads back. A setting without a value is a comment with an example.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let set = toml::Table::try_from(self)?;
        let is_set = |table: &str, name: &str| {
            let value = set.get(table).and_then(|settings| settings.get(name));
            value.is_some_and(|value| value.as_table().is_none_or(|table| !table.is_empty()))
        };
        let mut printed = String::new();
        // One part for each table.
        for part in toml::to_string(self)?.split_inclusive("\n\n") {
            let settings = part.trim_end_matches('\n');
            printed.push_str(settings);
            printed.push('\n');
            for (table, name, example) in OPTIONAL {
                if settings.starts_with(&format!("[{table}]")) && !is_set(table, name) {
                    printed.push_str(&format!("# {name} = {example}\n"));
                }
            }
            printed.push('\n');
        }
        printed.truncate(printed.trim_end().len());
        printed.push('\n');
        Ok(printed)
    }
}
