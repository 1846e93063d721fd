//! A cluster that is reached by TLS, with and without a password.

use std::time::Instant;

use super::host::{DEADLINE, Host};

#[test]
fn by_tls_it_ships_to_whom_it_may_trust_and_says_why_it_does_not_to_others() {
    let host = Host::new("timeout_ms = 10000");
    let (Some(tls), Some(both)) = (host.broker.behind(3), host.broker.behind(4)) else {
        println!("NOT tested: the broker is not ours (TRADECORE_TEST_KAFKA_DIR)");
        return;
    };
    let dir = std::env::var("TRADECORE_TEST_KAFKA_DIR").expect("ours");
    let plain = std::fs::read_to_string(host.config()).expect("read");
    let password = host.dir.path().join("password");
    std::fs::write(&password, "planted-broker-secret").expect("written");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let by = |address: &str, settings: &[String]| {
        let brokers = format!("brokers = \"{}\"", host.broker.address);
        let text = plain.replace(&brokers, &format!("brokers = \"{address}\"\nsettings = {settings:?}"));
        std::fs::write(host.config(), text).expect("written");
    };
    let ca = |name: &str| format!("ssl.ca.location={dir}/tls/{name}.pem");
    let protocol = |name: &str| format!("security.protocol={name}");
    host.write(500);
    by(&tls, &[protocol("ssl"), ca("ca")]);
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!(host.status("lag_events"), "0");

    for (address, settings, reason) in [
        (&tls, vec![protocol("ssl"), ca("other")], "certificate verify failed"),
        // The certificate is of 127.0.0.1.
        (&tls.replace("127.0.0.1", "localhost"), vec![protocol("ssl"), ca("ca")], "certificate verify failed"),
        (&tls, vec![], "check security.protocol"),
        // What the client is told of it first: the answer, or that the other end is gone.
        (&host.broker.address, vec![protocol("ssl"), ca("ca")], "PLAINTEXT broker listener?|check security.protocol"),
    ] {
        by(address, &settings);
        // An address may lead to several places, of which nobody listens at some: the last word may be of one of these.
        let since = Instant::now();
        loop {
            let output = host.run(&["ship", "status"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(69), "{address}, {settings:?}: {said}");
            if reason.split('|').any(|reason| said.contains(reason)) {
                break;
            }
            assert!(since.elapsed() < DEADLINE, "{address}, {settings:?}: {reason:?} in {said}");
        }
    }

    host.write(500);
    let user = ["sasl.mechanism=PLAIN".to_owned(), "sasl.username=gateway".to_owned()];
    by(&both, &[vec![protocol("sasl_ssl"), ca("ca")], user.to_vec()].concat());
    let text = std::fs::read_to_string(host.config()).expect("read");
    let secrets = "secrets = [\"sasl.password=password\"]\nsettings = ";
    std::fs::write(host.config(), text.replace("\nsettings = ", &format!("\n{secrets}"))).expect("written");
    host.succeed(&["ship", "run", "--drain"]);
    assert_eq!(host.assert_exactly_once(), 1_000);
}
