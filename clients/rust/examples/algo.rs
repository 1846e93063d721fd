//! An algo: buys a little below the market, and says what becomes of it.
#![allow(missing_docs)]

use std::time::Duration;
use tradecore_client::protocol::fields::{Px, Side};
use tradecore_client::{Address, Client, Event, NewOrder, Options, qty};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [address, session, key_id, secret_file] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: algo ADDRESS SESSION KEY_ID SECRET_FILE")?;
    let secret = std::fs::read(secret_file)?;
    let mut options = Options::new(Address::Tcp(address), session.parse()?, &key_id, secret.trim_ascii());
    options.state_path = Some("algo.state".into());
    let mut client = Client::connect(options)?;
    client.subscribe(1)?;
    let mut ordered = false;
    while let Some(event) = client.poll(Duration::from_secs(10))? {
        match event {
            Event::Quote(quote) if !ordered => {
                let order = NewOrder::limit(1, 1, Side::Buy, qty("0.01")?, Px(quote.ask_px.get()));
                println!("sent {:?}", client.new_order(&order)?);
                ordered = true;
            }
            Event::Exec(report) => println!("{report:?}"),
            Event::Reject(reject) => println!("refused: {}", reject.text),
            _ => {}
        }
    }
    Ok(())
}
