//! An algo: buys a little at the offer, and says what becomes of it.
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
    let (session, secret) = (session.parse()?, std::fs::read(secret_file)?.trim_ascii().to_vec());
    let mut options = Options::new(Address::Tcp(address), session, &key_id, &secret); // data/listening, 1, "demo"
    options.state_path = Some("algo.state".into()); // what must not be forgotten
    let mut client = Client::connect(options)?;
    client.subscribe(1)?; // instrument 1: also after every reconnect
    let mut ordered = false;
    loop {
        let Some(event) = client.poll(Duration::from_secs(10))? else { continue }; // silence: a quiet market, an outage
        match event {
            Event::Quote(quote) if !ordered && client.is_ready() => {
                // Instrument 1, account 1, as the gateway's configuration numbers them.
                let order = NewOrder::limit(1, 1, Side::Buy, qty("0.01")?, Px(quote.ask_px.get()));
                println!("sent {:?}", client.new_order(&order)?);
                ordered = true;
            }
            Event::Exec(report) => println!("{report:?}"),
            Event::Reject(reject) => println!("refused: {}", reject.text),
            Event::NotApplied { cl_ord_id } => println!("without effect: {cl_ord_id:?}"),
            // Reports were missed, perhaps before this state file was made: open orders come as `Exec`.
            Event::Resynchronize if client.is_ready() => client.open_orders()?,
            _ => {}
        }
    }
}
