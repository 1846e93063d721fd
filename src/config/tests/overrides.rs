use super::*;

/// A variable is refused with exactly this message.
#[track_caller]
fn check_variable_refused(name: &str, value: &str, code: Code, message: &str) {
    let error = parse_with(TEXT, &[(name, value)]).expect_err("refused");
    assert_eq!((error.code, error.to_string().as_str()), (code, message));
    assert_eq!(error.place, Some(Place::Variable(name.to_owned())));
}

#[test]
fn the_environment_wins_over_the_file() {
    let env = [("TRADECORE__CORE__ID", "9"), ("TRADECORE__LISTEN__I_ACCEPT_PLAINTEXT_ON_A_NETWORK", "true")];
    let config = parse_with(TEXT, &env).expect("accepted");
    assert_eq!((config.core.id, config.listen.i_accept_plaintext_on_a_network), (9, true));
}

#[test]
fn text_stays_text_and_empty_is_none() {
    let env = [
        ("TRADECORE__BROKER__CLIENT", "7"),
        ("TRADECORE__LISTEN__UNIX", "a.sock"),
        ("TRADECORE__LISTEN__TCP", ""),
        ("TRADECORE__CORE__HOT_DIR", ""),
    ];
    let config = parse_with(TEXT, &env).expect("accepted");
    assert_eq!((config.broker.client.as_str(), config.listen.tcp, &config.core.hot_dir), ("7", None, &None));
    assert_eq!(config.listen.unix.as_deref(), Some(Path::new("a.sock")));
}

#[test]
fn the_parts_of_the_venue_have_variables_too() {
    let env = [
        ("TRADECORE__VENUE__LOG_DIR", "elsewhere"),
        ("TRADECORE__VENUE__EXCHANGE__SEED", "7"),
        ("TRADECORE__VENUE__CAPTURE__PATHS", "[\"a.gz\"]"),
    ];
    let venue = parse_with(TEXT, &env).and_then(|config| config.venue()).expect("accepted");
    assert_eq!((venue.log_dir.as_path(), venue.exchange.seed), (Path::new("elsewhere"), 7));
    assert_eq!(venue.capture.expect("made").paths, [Path::new("a.gz")]);
}

#[test]
fn variables_without_the_prefix_are_not_looked_at() {
    let env = [("HOME", "/root"), ("TRADECORE_CORE_ID", "9"), ("RUST_LOG", "info")];
    assert_eq!(parse_with(TEXT, &env).expect("accepted").core.id, 1);
}

#[test]
fn a_value_of_another_type_names_the_variable() {
    check_variable_refused(
        "TRADECORE__CORE__ID",
        "one",
        Code::WrongType,
        "gateway.toml: TRADECORE__CORE__ID: core.id = \"one\": is of type string; allowed: an integer from 1 to 65535",
    );
}

#[test]
fn a_value_out_of_range_names_the_variable() {
    check_variable_refused(
        "TRADECORE__CORE__ID",
        "70000",
        Code::NotAllowed,
        "gateway.toml: TRADECORE__CORE__ID: core.id = 70000: out of range; allowed: an integer from 1 to 65535",
    );
}

#[test]
fn a_value_cannot_bring_other_keys_along() {
    let error = parse_with(TEXT, &[("TRADECORE__CORE__ID", "1\nx = 2")]).expect_err("refused");
    assert_eq!((error.code, error.value.as_deref()), (Code::WrongType, Some("\"\"\"\n1\nx = 2\"\"\"")));
}

#[test]
fn a_disagreement_names_the_variable() {
    check_variable_refused(
        "TRADECORE__LISTEN__TCP",
        "0.0.0.0:1",
        Code::Disagreement,
        "gateway.toml: TRADECORE__LISTEN__TCP: listen.tcp = \"0.0.0.0:1\": on a network orders can be read and changed \
         on their way; allowed: a loopback address; any other with listen.i_accept_plaintext_on_a_network = true, on a \
         network that you trust with your orders",
    );
}

const ALLOWED: &str = "allowed: TRADECORE__SECTION__KEY in capitals, of a key that stands in no list";

#[test]
fn a_misspelled_variable_names_the_nearest() {
    check_variable_refused(
        "TRADECORE__CORE__IDEL",
        "park",
        Code::UnknownKey,
        &format!(
            "gateway.toml: TRADECORE__CORE__IDEL: no such variable, the nearest is TRADECORE__CORE__IDLE; {ALLOWED}"
        ),
    );
}

#[test]
fn a_misspelled_section_of_a_variable_names_the_nearest() {
    check_variable_refused(
        "TRADECORE__LISTN__TCP",
        "127.0.0.1:1",
        Code::UnknownKey,
        &format!(
            "gateway.toml: TRADECORE__LISTN__TCP: no such variable, the nearest is TRADECORE__LISTEN__TCP; {ALLOWED}"
        ),
    );
}

#[test]
fn a_variable_like_none_names_none() {
    check_variable_refused(
        "TRADECORE__FOO__BAR",
        "1",
        Code::UnknownKey,
        &format!("gateway.toml: TRADECORE__FOO__BAR: no such variable; {ALLOWED}"),
    );
}

#[test]
fn a_variable_in_small_letters_is_refused() {
    check_variable_refused(
        "TRADECORE__core__id",
        "2",
        Code::UnknownKey,
        &format!("gateway.toml: TRADECORE__core__id: no such variable; {ALLOWED}"),
    );
}

#[test]
fn a_variable_of_a_list_is_refused() {
    check_variable_refused(
        "TRADECORE__INSTRUMENTS__ID",
        "1",
        Code::UnknownKey,
        &format!(
            "gateway.toml: TRADECORE__INSTRUMENTS__ID: instruments.id: [[instruments]] is a list, which is set in the \
             file only; {ALLOWED}"
        ),
    );
}
