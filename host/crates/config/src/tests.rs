use super::*;

#[test]
fn what_is_printed_is_read_back_and_is_the_default() {
    let text = Config::default().to_toml().expect("settings are TOML");
    let read: Config = toml::from_str(&text).expect("reads");
    assert_eq!(read, Config::default());
    assert_eq!(toml::from_str::<Config>("").expect("reads"), Config::default());
    assert!(
        text.contains("deadline = \"30s\"") && text.contains("memory_bytes_max = \"256MiB\""),
        "{text}"
    );
}

/// The names of a table's settings, as the message about one that does not exist lists them. The top level's are the tables.
fn known(table: Option<&str>) -> Vec<String> {
    let header = table.map_or_else(String::new, |table| format!("[{table}]\n"));
    let error = toml::from_str::<Config>(&format!("{header}no-such-setting = 1"));
    let error = error.expect_err("there is no such setting").to_string();
    let (_, names) = error.split_once(", expected ").expect("the names");
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_setting_is_printed_and_those_without_a_value_are_comments() {
    let text = Config::default().to_toml().expect("settings are TOML");
    let mut count = 0;
    for table in known(None) {
        let (_, settings) = text.split_once(&format!("[{table}]\n")).expect(&table);
        let settings = settings.split("\n[").next().expect("a table");
        for name in known(Some(&table)) {
            let is_there = |line: &str| {
                let line = line.strip_prefix("# ").unwrap_or(line);
                line.split_once(" = ").is_some_and(|(before, _)| before == name)
            };
            assert!(settings.lines().any(is_there), "{table}.{name}: {text}");
            count += 1;
        }
    }
    assert!(count > 60, "{count} settings");
    // Each comment is a setting as it is written, and is printed as one.
    let set = text.replace("\n# ", "\n");
    let read: Config = toml::from_str(&set).expect(&set);
    assert!(read.api.tls_key.is_some() && read.inference.worker_program.is_some());
    assert!(!read.to_toml().expect("settings are TOML").contains('#'));
}

#[test]
fn durations_are_read_and_written() {
    for (text, millis) in [
        ("250ms", 250),
        ("1500ms", 1500),
        ("30s", 30_000),
        ("90s", 90_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("30d", 30 * 24 * 3_600_000),
    ] {
        let read =
            |text: &str| toml::from_str::<Config>(&format!("[sandbox]\ndeadline = \"{text}\"\n"));
        let config = read(text).expect(text);
        assert_eq!(config.sandbox.deadline, Duration::from_millis(millis), "{text}");
        let printed = config.to_toml().expect("TOML");
        assert!(printed.contains(&format!("deadline = \"{text}\"\n")), "{text}: {printed}");
        for wrong in ["d", "-1d", "1.5d", "99999999999999999999d"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
    let printed = Config::default().to_toml().expect("TOML");
    assert!(printed.contains("proposal_lifetime = \"30d\"\n"), "{printed}");
}

#[test]
fn settings_that_do_not_exist_or_do_not_fit_are_errors() {
    for (text, said) in [
        ("[sandbox]\nmemory = \"1GiB\"", "unknown field `memory`"),
        ("[sandbx]\n", "unknown field `sandbx`"),
        ("[sandbox]\ndeadline = 30", "invalid type"),
        ("[sandbox]\ndeadline = \"30\"", "is not a duration"),
        ("[sandbox]\ndeadline = \"0s\"", "is not a duration"),
        ("[sandbox]\ndeadline = \"-1s\"", "is not a duration"),
        ("[sandbox]\nmemory_bytes_max = \"0B\"", "is not a size that fits here"),
        ("[sandbox]\nmemory_bytes_max = \"1 PiB\"", "is not a size that fits here"),
        ("[sandbox]\nmemory_bytes_max = \"99999999999GiB\"", "is not a size that fits here"),
        ("[admission]\nslots_max = 0", "nonzero"),
        ("[inference]\nbackend = \"cuda\"", "unknown variant `cuda`"),
        ("[api]\nlisten = \"everywhere\"", "is not an address to listen on"),
    ] {
        let error = toml::from_str::<Config>(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn sizes_are_read_and_written() {
    for (text, bytes) in [
        ("0", 0),
        ("4096", 4096),
        ("64KiB", 65_536),
        ("64 KiB", 65_536),
        ("10MB", 10_000_000),
        ("7B", 7),
    ] {
        assert_eq!(parse_bytes(text), Some(bytes), "{text}");
    }
    for text in ["", "KiB", "1.5MiB", "-1", "+1B", "1XB", "99999999999999999999"] {
        assert_eq!(parse_bytes(text), None, "{text}");
    }
    assert_eq!(
        [0, 1023, 1536, 10 << 20, 5 << 30].map(about_bytes),
        ["0 B", "1023 B", "1.50 KiB", "10.00 MiB", "5.00 GiB"]
    );
    for bytes in [0, 1, 1000, 1024, 1025, 3 << 20, 1 << 30] {
        assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes));
    }
}

#[test]
fn a_country_is_three_capital_letters_or_not_stated() {
    let read = |text: &str| toml::from_str::<Config>(&format!("[api]\ncountry = \"{text}\"\n"));
    assert_eq!(read("DEU").expect("a country").api.country, "DEU");
    assert_eq!(read("").expect("not stated").api.country, "");
    for wrong in ["DE", "deu", "Germany", "DEU "] {
        let error = read(wrong).expect_err(wrong).to_string();
        assert!(error.contains("is not a country"), "{wrong}: {error}");
    }
}
