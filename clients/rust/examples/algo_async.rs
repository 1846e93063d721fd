//! The algo of `algo.rs` for tokio: buys a little below the market, and says what becomes of it.
#![allow(missing_docs)]

use tradecore_client::protocol::fields::{Px, Side};
use tradecore_client::{Address, AsyncClient, Event, NewOrder, Options, qty};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let [address, session, key_id, secret_file] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: algo_async ADDRESS SESSION KEY_ID SECRET_FILE")?;
    let secret = std::fs::read(secret_file)?;
    let options = Options::new(Address::Tcp(address), session.parse()?, &key_id, secret.trim_ascii());
    let mut client = AsyncClient::connect(options).await?;
    client.subscribe(1).await?;
    let mut ordered = false;
    loop {
        match client.next_event().await? {
            Event::Quote(quote) if !ordered => {
                let order = NewOrder::limit(1, 1, Side::Buy, qty("0.01")?, Px(quote.ask_px.get()));
                println!("sent {:?}", client.new_order(&order).await?);
                ordered = true;
            }
            Event::Exec(report) => println!("{report:?}"),
            Event::Reject(reject) => println!("refused: {}", reject.text),
            _ => {}
        }
    }
}
