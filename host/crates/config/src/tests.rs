use super::*;

#[test]
fn what_is_printed_is_read_back_and_is_the_default() {
    let text = toml::to_string(&Config::default()).expect("settings are TOML");
    let read: Config = toml::from_str(&text).expect("reads");
    assert_eq!(read, Config::default());
    assert_eq!(toml::from_str::<Config>("").expect("reads"), Config::default());
    assert!(
        text.contains("deadline = \"30s\"") && text.contains("memory_bytes_max = \"256MiB\""),
        "{text}"
    );
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
