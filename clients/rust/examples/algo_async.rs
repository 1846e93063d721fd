//! The algo of `algo.rs` for tokio: buys a little at the offer, and says what becomes of it.
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
    let (session, secret) = (session.parse()?, std::fs::read(secret_file)?.trim_ascii().to_vec());
    let mut options = Options::new(Address::Tcp(address), session, &key_id, &secret);
    options.state_path = Some("algo.state".into());
    let mut client = AsyncClient::connect(options).await?;
    client.subscribe(1).await?;
    let mut ordered = false;
    loop {
        match client.next_event().await? {
            Event::Quote(quote) if !ordered && client.is_ready() => {
                let order = NewOrder::limit(1, 1, Side::Buy, qty("0.01")?, Px(quote.ask_px.get()));
                println!("sent {:?}", client.new_order(&order).await?);
                ordered = true;
            }
            Event::Exec(report) => println!("{report:?}"),
            Event::Reject(reject) => println!("refused: {}", reject.text),
            Event::NotApplied { cl_ord_id } => println!("without effect: {cl_ord_id:?}"),
            Event::Resynchronize if client.is_ready() => client.open_orders().await?,
            _ => {}
        }
    }
}
