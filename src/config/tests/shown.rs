use serde_json::json;

use super::*;

fn line<'a>(shown: &'a str, start: &str) -> &'a str {
    shown.lines().find(|line| line.starts_with(start)).expect("shown")
}

#[test]
fn every_value_is_shown_with_where_it_comes_from() {
    let env = [("TRADECORE__CORE__IDLE", "park")];
    let shown = parse_with(TEXT, &env).expect("accepted").show();
    assert_eq!(line(&shown, "environment"), format!("{:<48} # gateway.toml:3", "environment = \"virtual\""));
    assert_eq!(line(&shown, "idle"), format!("{:<48} # TRADECORE__CORE__IDLE", "idle = \"park\""));
    assert_eq!(line(&shown, "ids_max"), format!("{:<48} # default", "ids_max = 262144"));
    assert_eq!(line(&shown, "# cpu"), format!("{:<48} # default", "# cpu is not set"));
    assert_eq!(line(&shown, "clients_max"), format!("{:<48} # default", "clients_max = 256"));
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let env = [("TRADECORE__LISTEN__UNIX", "a.sock"), ("TRADECORE__LISTEN__TCP", "")];
    let config = parse_with(&twice_the_account(), &env).expect("accepted");
    let again = parse(&config.show()).expect("what is shown is a configuration");
    assert_eq!(values(&again), values(&config));
    assert_eq!((again.listen.tcp, again.accounts.len(), again.venue.is_some()), (None, 2, true));
}

fn twice_the_account() -> String {
    let start = TEXT.find("[[accounts]]").expect("there");
    let end = TEXT.find("[[sessions]]").expect("there");
    format!("{TEXT}\n{}", TEXT[start..end].replace("id = 1", "id = 2"))
}

#[test]
fn the_json_has_every_value_and_where_it_comes_from() {
    let env = [("TRADECORE__CORE__IDLE", "park")];
    let shown = parse_with(TEXT, &env).expect("accepted").to_json();
    let value = |key: &str| {
        let values = shown["values"].as_array().expect("a list");
        values.iter().find(|value| value["key"] == key).expect("shown").clone()
    };
    assert_eq!(shown["file"], "gateway.toml");
    let expected = [
        json!({"key": "core.id", "value": 1, "from": "file", "line": 2, "variable": null}),
        json!({"key": "core.idle", "value": "park", "from": "variable", "line": null,
               "variable": "TRADECORE__CORE__IDLE"}),
        json!({"key": "core.cpu", "value": null, "from": "default", "line": null, "variable": null}),
        json!({"key": "sessions[0].accounts", "value": [1], "from": "file", "line": 40, "variable": null}),
        json!({"key": "venue.exchange.instruments[0].symbol", "value": "BTCUSDT", "from": "file", "line": 14,
               "variable": null}),
    ];
    for expected in expected {
        assert_eq!(value(expected["key"].as_str().expect("a key")), expected);
    }
}

#[test]
fn the_commands_print_and_a_reader_that_has_gone_does_not_matter() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, bad) = (dir.path().join("good.toml"), dir.path().join("bad.toml"));
    std::fs::write(&good, TEXT).expect("written");
    std::fs::write(&bad, "[core]\n").expect("written");
    let printed = |print: &dyn Fn(&mut Vec<u8>) -> Result<(), ConfigError>| {
        let mut out = Vec::new();
        let result = print(&mut out);
        (String::from_utf8(out).expect("text"), result.map_err(|error| error.code))
    };
    assert_eq!(printed(&|out| check_command(&good, false, out)), ("ok\n".to_owned(), Ok(())));
    assert_eq!(printed(&|out| check_command(&good, true, out)), ("{\"ok\":true}\n".to_owned(), Ok(())));
    assert_eq!(printed(&|out| check_command(&bad, false, out)), (String::new(), Err(Code::MissingKey)));
    let (error, _) = printed(&|out| check_command(&bad, true, out));
    let error: serde_json::Value = serde_json::from_str(&error).expect("JSON");
    assert_eq!((&error["code"], &error["line"]), (&json!("missing_key"), &json!(1)));
    assert!(printed(&|out| show_command(&good, false, out)).0.starts_with("[core]\nid = 1 "));
    assert!(printed(&|out| show_command(&good, true, out)).0.starts_with("{\n"));
    assert!(show_command(&good, false, &mut [].as_mut_slice()).is_ok(), "no room is no error");
}

#[test]
fn an_error_as_json_has_its_parts() {
    let error = parse(&with("id = 1\nenvironment", "id = 0\nenvironment")).expect_err("refused");
    assert_eq!(
        error.to_json(),
        json!({"code": "not_allowed", "file": "gateway.toml", "line": 2, "variable": null, "key": "core.id",
               "value": "0", "allowed": "an integer from 1 to 65535",
               "message": "gateway.toml:2: core.id = 0: out of range; allowed: an integer from 1 to 65535"})
    );
    let error = parse_with(TEXT, &[("TRADECORE__CORE__ID", "0")]).expect_err("refused").to_json();
    assert_eq!((&error["line"], &error["variable"]), (&json!(null), &json!("TRADECORE__CORE__ID")));
}

#[test]
fn of_settings_of_librdkafka_the_values_are_shown_that_are_known_to_be_no_secret() {
    let kafka = |rest: &str| format!("{TEXT}\n[ship.kafka]\nbrokers = \"127.0.0.1:9092\"\n{rest}\n");
    let (known, other) = ("sasl.username=gateway", "sasl.pasword=planted");
    let config = parse(&kafka(&format!("settings = [\"{known}\", \"{other}\"]"))).expect("accepted");
    for shown in [config.show(), config.to_json().to_string()] {
        assert!(shown.contains(known) && shown.contains("sasl.pasword=…") && !shown.contains("planted"), "{shown}");
    }
    for refused in [
        "settings = \"sasl.password=planted\"",
        "settings = [\"planted\"]",
        "settings = [\"sasl.password=planted\"]",
        "settings = [\"sasl.oauthbearer.assertion.private.key.passphrase=planted\"]",
        "settings = [\"sasl.oauthbearer.assertion.private.key.pem=planted\"]",
        "settings = [\"acks=planted\"]",
    ] {
        let error = parse(&kafka(refused)).expect_err(refused);
        assert!(error.to_string().contains("ship.kafka.settings"), "{error}");
        assert!(!error.to_json().to_string().contains("planted"), "{error}");
    }
}
