use super::*;

#[test]
fn a_misspelled_key_names_the_nearest() {
    check_refused(
        &with("environment = ", "enviroment = "),
        Code::UnknownKey,
        "gateway.toml:3: core.enviroment = \"virtual\": no such key, the nearest is environment; allowed: id, \
         environment, data_dir, hot_dir, durability, cpu, idle, stages, orders_max, ids_max",
    );
}

#[test]
fn a_key_in_the_wrong_section_names_the_right_one() {
    check_refused(
        &with("log_dir = \"venue\"\n", "log_dir = \"venue\"\nthrottle_rate = 5\n"),
        Code::UnknownKey,
        "gateway.toml:12: venue.throttle_rate = 5: no such key; throttle_rate belongs to [session]; allowed: listen, \
         i_accept_anyone_on_a_network, log_dir, log_sync, connections_max, exchange, faults, capture",
    );
    check_refused(
        &with("environment = ", "i_accept_plaintext_on_a_network = true\nenvironment = "),
        Code::UnknownKey,
        "gateway.toml:3: core.i_accept_plaintext_on_a_network = true: no such key; i_accept_plaintext_on_a_network belongs \
         to [listen] or [projection.postgres]; allowed: id, environment, data_dir, hot_dir, durability, cpu, idle, stages, \
         orders_max, ids_max",
    );
}

#[test]
fn a_misspelled_section_names_the_nearest() {
    check_refused(
        &with("[broker]", "[brokers]"),
        Code::UnknownKey,
        "gateway.toml:6: brokers: no such section, the nearest is broker; allowed: core, listen, session, journal, \
         projection, broker, instruments, accounts, sessions, cores, ship, venue",
    );
}

#[test]
fn an_unknown_key_of_an_inline_table_names_its_line() {
    check_refused(
        &with("{ symbol = \"BTCUSDT\",", "{ simbol = \"BTCUSDT\","),
        Code::UnknownKey,
        "gateway.toml:14: venue.exchange.instruments[0].simbol = \"BTCUSDT\": no such key, the nearest is symbol; \
         allowed: symbol, tick_size, lot_size",
    );
}

#[test]
fn a_secret_in_the_file_is_refused_without_repeating_it() {
    check_refused(
        &with("secret_file = \"key\"", "secret = \"hunter2\""),
        Code::UnknownKey,
        "gateway.toml:38: sessions[0].secret: no such key; allowed: id, key_id, secret_file, role, accounts, cod_mode, \
         epoch",
    );
}

#[test]
fn a_missing_key_names_its_section() {
    check_refused(
        &with("symbol = \"BTCUSDT\"\n", ""),
        Code::MissingKey,
        "gateway.toml:16: instruments[0].symbol: is missing; allowed: 1 to 16 printable ASCII characters, no space",
    );
}

#[test]
fn a_missing_section_with_a_required_key_names_the_key() {
    check_refused(
        &with("[core]\nid = 1\nenvironment = \"virtual\"\ndata_dir = \"data\"\n", ""),
        Code::MissingKey,
        "gateway.toml: core.id: is missing; allowed: an integer from 1 to 65535",
    );
}

#[test]
fn a_missing_list_that_must_be_there_is_named() {
    check_refused(
        &with("instruments = [{ symbol = \"BTCUSDT\", tick_size = \"0.01\", lot_size = \"0.00001\" }]\n", ""),
        Code::MissingKey,
        "gateway.toml:13: venue.exchange.instruments: is missing; allowed: [[venue.exchange.instruments]], at least one",
    );
}

#[test]
fn a_value_of_another_type_is_refused() {
    check_refused(
        &with("id = 1\nenvironment", "id = \"one\"\nenvironment"),
        Code::WrongType,
        "gateway.toml:2: core.id = \"one\": is of type string; allowed: an integer from 1 to 65535",
    );
}

#[test]
fn a_section_that_is_a_value_is_refused() {
    check_refused(
        "core = 1\n",
        Code::WrongType,
        "gateway.toml:1: core: is of type integer; allowed: the section [core]",
    );
}

#[test]
fn a_list_that_is_written_as_a_table_is_refused() {
    check_refused(
        &with("[[accounts]]", "[accounts]"),
        Code::WrongType,
        "gateway.toml:28: accounts: is of type table; allowed: the section [[accounts]]",
    );
}

#[test]
fn an_entry_of_a_list_that_is_no_table_is_refused() {
    check_refused(
        &format!("accounts = [7]\n{}", &TEXT[..TEXT.find("[[accounts]]").expect("there")]),
        Code::WrongType,
        "gateway.toml:1: accounts[0]: is of type integer; allowed: the section [[accounts]]",
    );
}

#[test]
fn a_number_out_of_range_is_refused() {
    check_refused(
        &with("id = 1\nenvironment", "id = 65536\nenvironment"),
        Code::NotAllowed,
        "gateway.toml:2: core.id = 65536: out of range; allowed: an integer from 1 to 65535",
    );
}

#[test]
fn a_float_is_no_decimal() {
    check_refused(
        &with("\"0.02\"", "0.02"),
        Code::WrongType,
        "gateway.toml:20: instruments[0].tick_size = 0.02: a float cannot hold every decimal exactly; allowed: a \
         decimal in quotes like \"0.01\", above 0, at most 9 places",
    );
}

#[test]
fn a_decimal_finer_than_its_unit_is_refused() {
    check_refused(
        &with("\"0.02\"", "\"0.0000000001\""),
        Code::NotAllowed,
        "gateway.toml:20: instruments[0].tick_size = \"0.0000000001\": more decimal places than the unit has; allowed: \
         a decimal in quotes like \"0.01\", above 0, at most 9 places",
    );
}

#[test]
fn a_step_of_zero_is_refused() {
    check_refused(
        &with("\"0.02\"", "\"0\""),
        Code::NotAllowed,
        "gateway.toml:20: instruments[0].tick_size = \"0\": is not above 0; allowed: a decimal in quotes like \"0.01\", \
         above 0, at most 9 places",
    );
}

#[test]
fn a_notional_bound_below_zero_is_refused() {
    check_refused(
        &with("order_notional_max = \"1000000\"", "order_notional_max = \"-1\""),
        Code::NotAllowed,
        "gateway.toml:24: instruments[0].order_notional_max = \"-1\": is not above 0; allowed: a decimal in quotes like \
         \"0.01\", above 0, at most 18 places",
    );
}

#[test]
fn a_misspelled_word_names_the_nearest() {
    check_refused(
        &with("\"virtual\"", "\"virtul\""),
        Code::NotAllowed,
        "gateway.toml:3: core.environment = \"virtul\": no such word, the nearest is \"virtual\"; allowed: \"live\", \
         \"paper\", \"virtual\"",
    );
}

#[test]
fn a_text_with_a_space_is_refused() {
    check_refused(
        &with("\"algo1\"", "\"algo 1\""),
        Code::NotAllowed,
        "gateway.toml:37: sessions[0].key_id = \"algo 1\": has a character that is not allowed; allowed: 1 to 16 \
         printable ASCII characters, no space",
    );
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    check_refused(
        &with("\"algo1\"", "\"algo4567890123456\""),
        Code::NotAllowed,
        "gateway.toml:37: sessions[0].key_id = \"algo4567890123456\": has 17 characters; allowed: 1 to 16 printable \
         ASCII characters, no space",
    );
}

#[test]
fn an_address_without_a_port_is_refused() {
    check_refused(
        &format!("{TEXT}[listen]\ntcp = \"localhost\"\n"),
        Code::NotAllowed,
        "gateway.toml:42: listen.tcp = \"localhost\": is no address; allowed: \"ip:port\", \"\" for none",
    );
}

#[test]
fn an_account_id_beyond_the_greatest_is_refused() {
    check_refused(
        &with("accounts = [1]", "accounts = [65]"),
        Code::NotAllowed,
        "gateway.toml:40: sessions[0].accounts = [65]: 65 is no id; allowed: a list of ids from 1 to 64",
    );
}

#[test]
fn an_account_owner_below_zero_is_refused() {
    check_refused(
        &with("open_orders_max = 100", "open_orders_max = 100\nowner = -1"),
        Code::NotAllowed,
        "gateway.toml:34: accounts[0].owner = -1: out of range; allowed: an integer from 0 to 9223372036854775807",
    );
}

#[test]
fn a_long_value_is_repeated_in_part() {
    let error = parse(&with("\"algo1\"", &format!("{:?}", "é".repeat(5_000)))).expect_err("refused");
    assert_eq!(error.value.as_ref().map(|value| value.chars().count()), Some(102));
}

#[test]
fn a_list_that_must_not_be_empty_is_named() {
    check_refused(
        &with("[{ symbol = \"BTCUSDT\", tick_size = \"0.01\", lot_size = \"0.00001\" }]", "[]"),
        Code::MissingKey,
        "gateway.toml:14: venue.exchange.instruments: is empty; allowed: [[venue.exchange.instruments]], at least one",
    );
}
