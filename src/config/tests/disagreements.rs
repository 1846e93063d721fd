use super::*;

#[test]
fn a_postgresql_server_on_a_network_has_to_be_accepted_as_such() {
    let with_host = |host: &str| format!("{TEXT}\n[projection.postgres]\nhost = \"{host}\"\n");
    for here in ["127.0.0.1", "::1", "localhost", "/run/postgresql"] {
        assert!(parse(&with_host(here)).is_ok(), "{here}");
    }
    for away in ["10.0.0.7", "db.example", "localhost.example"] {
        let error = parse(&with_host(away)).expect_err(away);
        assert_eq!(error.code, Code::Disagreement, "{away}");
        let text = error.to_string();
        assert!(text.contains("projection.postgres.host") && text.contains("rows can be read on their way"), "{text}");
        assert!(parse(&format!("{}i_accept_plaintext_on_a_network = true\n", with_host(away))).is_ok(), "{away}");
        let with_tls = format!("{}tls = \"verify-full\"\n", with_host(away));
        assert!(parse(&format!("{with_tls}ca_file = \"ca.pem\"\n")).is_ok(), "{away}");
        let text = parse(&with_tls).expect_err(away).to_string();
        assert!(text.contains("projection.postgres.tls") && text.contains("projection.postgres.ca_file"), "{text}");
    }
    let with_tls = format!("{}tls = \"verify-full\"\nca_file = \"ca.pem\"\n", with_host("/run/postgresql"));
    assert!(parse(&with_tls).expect_err("a socket").to_string().contains("a unix socket has no TLS"));
}

#[test]
fn a_listen_address_on_a_network_needs_the_flag() {
    let text = format!("{TEXT}[listen]\ntcp = \"0.0.0.0:7400\"\n");
    check_refused(
        &text,
        Code::Disagreement,
        "gateway.toml:42: listen.tcp = \"0.0.0.0:7400\": on a network orders can be read and changed on their way; \
         allowed: a loopback address; any other with listen.i_accept_plaintext_on_a_network = true, on a network that \
         you trust with your orders",
    );
    assert!(parse(&format!("{text}i_accept_plaintext_on_a_network = true\n")).is_ok());
}

#[test]
fn a_gateway_that_nobody_can_reach_is_refused() {
    let text = format!("{TEXT}[listen]\ntcp = \"\"\n");
    check_refused(
        &text,
        Code::Disagreement,
        "gateway.toml:42: listen.tcp = \"\": nobody can connect; allowed: an address, or \"\" when listen.unix is a path",
    );
    assert!(parse(&format!("{text}unix = \"gateway.sock\"\n")).is_ok());
}

#[test]
fn a_socket_path_that_the_system_does_not_take_is_refused() {
    let path = |bytes: usize| format!("{TEXT}[listen]\nunix = \"/{}\"\n", "s".repeat(bytes - 1));
    assert!(parse(&path(107)).is_ok());
    let error = parse(&path(108)).unwrap_err().to_string();
    assert!(error.ends_with("with the directory of the file it has 108 bytes; allowed: at most 107 bytes"), "{error}");
}

#[test]
fn sockets_of_the_venue_are_beside_the_file_and_as_short_as_the_system_wants() {
    let with_path = |path: &str| {
        let text = with("listen = []", &format!("listen = [\"unix:{path}\"]"));
        let text = text.replace("kind = \"paper\"", &format!("kind = \"venue\"\naddress = \"unix:{path}\""));
        Config::parse(Path::new("/etc/tradecore/gateway.toml"), &text, std::iter::empty())
    };
    let config = with_path("v.sock").expect("accepted");
    assert_eq!(config.venue().expect("there").listen, ["unix:/etc/tradecore/v.sock"]);
    assert_eq!(config.address_beside(&config.broker.address), "unix:/etc/tradecore/v.sock");
    assert!(with_path(&"s".repeat(107 - 14)).is_err_and(|error| error.to_string().contains("has 108 bytes")));
    let long = with("listen = []", &format!("listen = [\"unix:/{}\"]", "s".repeat(107)));
    let error = parse(&long).expect_err("refused").to_string();
    assert!(error.contains("venue.listen = ") && error.contains("has 108 bytes"), "{error}");
}

#[test]
fn a_venue_on_a_network_needs_the_flag() {
    let text = with("listen = []", "listen = [\"127.0.0.1:0\", \"0.0.0.0:9000\"]");
    check_refused(
        &text,
        Code::Disagreement,
        "gateway.toml:10: venue.listen = [\"127.0.0.1:0\", \"0.0.0.0:9000\"]: whoever reaches it can trade and see \
         every order: the venue knows no keys; allowed: loopback addresses and \"unix:/path\"; any other with \
         venue.i_accept_anyone_on_a_network = true",
    );
    assert!(parse(&text.replace("log_dir", "i_accept_anyone_on_a_network = true\nlog_dir")).is_ok());
    check_refused(
        &with("listen = []", "listen = [\"localhost:9000\"]"),
        Code::NotAllowed,
        "gateway.toml:10: venue.listen = [\"localhost:9000\"]: \"localhost:9000\" is no address; allowed: a list of \
         \"ip:port\" and \"unix:/path\"",
    );
}

#[test]
fn a_bound_below_the_one_that_it_holds_is_refused() {
    check_refused(
        &format!("{TEXT}[listen]\nheartbeat_max_ms = 50\n"),
        Code::Disagreement,
        "gateway.toml:42: listen.heartbeat_max_ms = 50: is below listen.heartbeat_min_ms = 100; allowed: 100 or more",
    );
}

#[test]
fn a_pool_that_cannot_hold_every_connection_or_a_few_full_queues_is_refused() {
    check_refused(
        &format!("{TEXT}[session]\npool_mib = 127\n"),
        Code::Disagreement,
        "gateway.toml:42: session.pool_mib = 127: is too little for listen.connections_max = 1024; allowed: 128 or more",
    );
    check_refused(
        &format!("{TEXT}[session]\npool_mib = 128\noutbound_bytes_max = 16777217\n"),
        Code::Disagreement,
        "gateway.toml:42: session.pool_mib = 128: is too little for session.outbound_bytes_max = 16777217; allowed: 129 \
         or more",
    );
    assert!(parse(&format!("{TEXT}[session]\npool_mib = 128\noutbound_bytes_max = 16777216\n")).is_ok());
}

#[test]
fn too_few_client_order_ids_for_open_orders_and_sessions_are_refused() {
    let text = |ids_max: u32| with("[core]\n", &format!("[core]\norders_max = 1000\nids_max = {ids_max}\n"));
    assert!(parse(&text(1128)).is_ok());
    let error = parse(&text(1127)).unwrap_err().to_string();
    let expected = "core.ids_max = 1127: is too small for core.orders_max = 1000 and 1 [[sessions]]; allowed: 1128 or \
                    more: core.orders_max and 128 for each session";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn an_order_bound_below_the_smallest_order_is_refused() {
    check_refused(
        &with("order_qty_max = \"10\"", "order_qty_max = \"0.0001\""),
        Code::Disagreement,
        "gateway.toml:23: instruments[0].order_qty_max = \"0.0001\": is below qty_min = \"0.001\"; allowed: qty_min or \
         more",
    );
}

#[test]
fn a_session_of_an_account_that_is_not_there_is_refused() {
    check_refused(
        &with("accounts = [1]", "accounts = [1, 7]"),
        Code::Disagreement,
        "gateway.toml:40: sessions[0].accounts = [1, 7]: there is no account 7; allowed: ids of [[accounts]]: 1",
    );
}

#[test]
fn a_drop_copy_of_some_accounts_is_refused() {
    check_refused(
        &with("role = \"trade\"", "role = \"drop_copy\""),
        Code::Disagreement,
        "gateway.toml:40: sessions[0].accounts = [1]: a drop copy reads the reports of every account; allowed: [], or \
         another role",
    );
}

/// `TEXT` with the section that begins at `header` twice.
fn twice(header: &str) -> String {
    let start = TEXT.find(header).expect("there");
    let section = TEXT[start..].split("\n\n").next().unwrap_or_default();
    format!("{TEXT}{section}\n")
}

#[test]
fn an_instrument_id_that_is_used_twice_is_refused() {
    check_refused(
        &twice("[[instruments]]"),
        Code::Disagreement,
        "gateway.toml:42: instruments[1].id = 1: is that of instruments[0] already; allowed: one that no other of [[instruments]] has",
    );
}

#[test]
fn a_symbol_that_is_used_twice_is_refused() {
    let text = twice("[[instruments]]");
    let (before, after) = text.rsplit_once("id = 1\n").expect("there");
    check_refused(
        &format!("{before}id = 2\n{after}"),
        Code::Disagreement,
        "gateway.toml:43: instruments[1].symbol = \"BTCUSDT\": is that of instruments[0] already; allowed: one that no other of [[instruments]] has",
    );
}

#[test]
fn an_account_id_that_is_used_twice_is_refused() {
    check_refused(
        &twice("[[accounts]]"),
        Code::Disagreement,
        "gateway.toml:42: accounts[1].id = 1: is that of accounts[0] already; allowed: one that no other of [[accounts]] has",
    );
}

#[test]
fn a_session_id_that_is_used_twice_is_refused() {
    check_refused(
        &twice("[[sessions]]"),
        Code::Disagreement,
        "gateway.toml:42: sessions[1].id = 1: is that of sessions[0] already; allowed: one that no other of [[sessions]] has",
    );
}

#[test]
fn a_paper_broker_without_a_venue_is_refused() {
    let (start, end) = (TEXT.find("[venue]").expect("there"), TEXT.find("[[instruments]]").expect("there"));
    check_refused(
        &format!("{}{}", &TEXT[..start], &TEXT[end..]),
        Code::Disagreement,
        "gateway.toml:7: broker.kind = \"paper\": there is no section [venue]; allowed: \"paper\" with a section [venue]",
    );
}

#[test]
fn a_venue_broker_without_an_address_is_refused() {
    check_refused(
        &with("kind = \"paper\"", "kind = \"venue\""),
        Code::Disagreement,
        "gateway.toml:6: broker.address = \"\": broker.kind = \"venue\" needs the address of a venue; allowed: \
         host:port or unix:/path",
    );
}

#[test]
fn a_symbol_that_the_venue_has_twice_is_refused() {
    let one = "{ symbol = \"BTCUSDT\", tick_size = \"0.01\", lot_size = \"0.00001\" }";
    check_refused(
        &with(one, &format!("{one}, {one}")),
        Code::NotAllowed,
        "gateway.toml:13: venue.exchange: instrument `BTCUSDT` is listed twice; allowed: a section [venue] as \
         docs/config.md lists it",
    );
}

#[test]
fn another_core_that_is_this_one_or_named_twice_is_refused() {
    let core = |id: u16| format!("[[cores]]\nid = {id}\naddress = \"10.0.0.2:7400\"\n");
    check_refused(
        &format!("{TEXT}{}", core(1)),
        Code::Disagreement,
        "gateway.toml:42: cores[0].id = 1: is the core of this gateway; allowed: the number of another core",
    );
    check_refused(
        &format!("{TEXT}{}{}", core(2), core(2)),
        Code::Disagreement,
        "gateway.toml:45: cores[1].id = 2: is that of cores[0] already; allowed: one that no other of [[cores]] has",
    );
}

#[test]
fn a_venue_inside_the_process_trades_what_the_gateway_offers() {
    let other =
        |symbol: &str| TEXT.replace("symbol = \"BTCUSDT\"\ncurrency", &format!("symbol = \"{symbol}\"\ncurrency"));
    check_refused(
        &other("XYZ"),
        Code::Disagreement,
        "gateway.toml:18: instruments[0].symbol = \"XYZ\": the venue does not trade it; allowed: a symbol of \
         venue.exchange.instruments: [\"BTCUSDT\"]",
    );
    let elsewhere = other("XYZ").replace("kind = \"paper\"", "kind = \"venue\"\naddress = \"127.0.0.1:1\"");
    assert!(parse(&elsewhere).is_ok(), "what a venue of its own trades is not known here");
}

#[test]
fn what_needs_a_fence_is_refused_where_a_cluster_has_no_transactions() {
    let kafka = |rest: &str| format!("{TEXT}\n[ship.kafka]\nbrokers = \"127.0.0.1:9092\"\n{rest}\n");
    let replicated = |text: &str| text.replacen("[core]", "[core]\ndurability = \"replicated\"", 1);
    assert!(parse(&kafka("transactions = false")).is_ok());
    assert!(parse(&kafka("lease_ms = 500")).is_ok());
    assert!(parse(&replicated(&kafka(""))).is_ok());
    for (text, key) in [
        (kafka("transactions = false\nlease_ms = 500"), "ship.kafka.lease_ms"),
        (replicated(&kafka("transactions = false")), "core.durability"),
    ] {
        let error = parse(&text).expect_err(key);
        assert_eq!(error.code, Code::Disagreement, "{key}");
        let text = error.to_string();
        assert!(text.contains(key) && text.contains("without transactions nobody is fenced"), "{text}");
        assert!(text.contains("ship.kafka.transactions = true"), "{text}");
    }
}

#[test]
fn with_real_money_what_is_replicated_is_on_two_hosts() {
    let with = |environment: &str, durability: &str, copies: &str| {
        let core = format!("[core]\ndurability = \"{durability}\"");
        let text = TEXT.replacen("[core]", &core, 1).replacen("\"virtual\"", &format!("\"{environment}\""), 1);
        parse(&format!("{text}\n[ship.kafka]\nbrokers = \"127.0.0.1:9092\"\n{copies}\n"))
    };
    for copies in ["min_insync_replicas = 1\nreplication_factor = 1", "min_insync_replicas = 1"] {
        let error = with("live", "replicated", copies).expect_err(copies);
        assert_eq!(error.code, Code::Disagreement, "{error}");
        assert_eq!(error.key.as_deref(), Some("ship.kafka.min_insync_replicas"), "{error}");
        for (environment, durability) in [("live", "synced"), ("paper", "replicated"), ("virtual", "replicated")] {
            assert!(with(environment, durability, copies).is_ok(), "{environment}, {durability}: {copies}");
        }
    }
    assert!(with("live", "replicated", "").is_ok());
}

#[test]
fn a_setting_that_the_gateway_makes_itself_is_refused_by_each_of_its_names() {
    for name in [
        "acks",
        "message.max.bytes",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "transactional.id",
        "group.instance.id",
    ] {
        let text = format!("{TEXT}\n[ship.kafka]\nbrokers = \"127.0.0.1:9092\"\nsettings = [\"{name}=1\"]\n");
        let error = parse(&text).expect_err(name).to_string();
        assert!(error.contains(&format!("{name} is what exactly once rests on")), "{error}");
    }
}

#[test]
fn what_others_would_write_into_the_journal_or_kafka_would_not_take_is_refused() {
    let kafka =
        |prefix: &str| format!("{TEXT}\n[ship.kafka]\nbrokers = \"127.0.0.1:9092\"\ntopic_prefix = \"{prefix}\"\n");
    assert!(parse(&kafka("eu-1.core_7.")).is_ok());
    let data_dir = parse(TEXT).expect("accepted").core.data_dir.display().to_string();
    let inside = |rest: &str| format!("{TEXT}\n{}\n", rest.replace("DATA", &data_dir));
    for (text, key) in [
        (kafka("a/b"), "ship.kafka.topic_prefix"),
        (kafka("a:b#"), "ship.kafka.topic_prefix"),
        (inside("[projection]\nsqlite = \"DATA/journal/rows\""), "projection.sqlite"),
        (inside("[ship.files]\ndir = \"DATA/journal\""), "ship.files.dir"),
    ] {
        let error = parse(&text).expect_err(key);
        assert_eq!((error.code, error.key.as_deref()), (Code::Disagreement, Some(key)), "{error}");
    }
    assert!(parse(&inside("[projection]\nsqlite = \"DATA/rows\"")).is_ok());
}
