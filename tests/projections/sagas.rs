//! Sagas and their steps: what began each, what has moved it, how it stands.

use tradecore::projections::ask::{Comparison, Question};
use tradecore::projections::declare::Row;
use tradecore::projections::rights::Rights;
use tradecore::projections::store::{Care, Store};
use tradecore::projections::tables::{SagaRow, SagaStepRow};
use tradecore::projections::{Projector, Source, rebuild};
use tradecore_domain::event::{
    BrokerStatusChanged, CoreStarted, DoubtSearchProgressed, Event, MassCancelAccepted, MassCancelCompleted,
    MassCancelProgressed, Meta,
};
use tradecore_protocol::fields::BrokerStatus;

use crate::support::{dump, source_of, write};

fn rows<R: Row>(source: &Source, conditions: Vec<(&'static str, Comparison, u64)>) -> Vec<R> {
    let mut store = Store::open_to_read(source).expect("opens");
    let question = Question { table: R::TABLE, conditions, limit: 1_000 };
    let rows = question.ask(&Rights::all(), &mut store).expect("answered").rows;
    rows.iter().map(|cells| R::take(cells).expect("a row")).collect()
}

/// Its id, kind and number, session and account, state, events that moved it, and the one that ended it.
type Saga = (u64, u16, u64, (u32, u32), u16, u32, u64);

fn said(row: &SagaRow) -> Saga {
    let of = (row.session_id, row.account_id);
    (row.saga_id, row.saga, row.aggregate_id, of, row.state, row.steps, row.ended_seq)
}

#[test]
fn a_saga_goes_from_what_began_it_to_its_end_and_a_rebuild_says_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let started =
        Event::CoreStarted(CoreStarted { epoch: 1, core: 1, environment: 3, durability: 1, ..Default::default() });
    let is = |status: BrokerStatus| {
        Event::BrokerStatusChanged(BrokerStatusChanged {
            status: status.raw(),
            connection_no: 1,
            ..BrokerStatusChanged::default()
        })
    };
    let searched = |done| Event::DoubtSearchProgressed(DoubtSearchProgressed { done, ..Default::default() });
    let accepted = |mass_cancel_id, account_id| {
        let meta = Meta { session_id: 3, ..Meta::default() };
        Event::MassCancelAccepted(MassCancelAccepted { meta, mass_cancel_id, account_id, ..Default::default() })
    };
    let progressed =
        |mass_cancel_id| Event::MassCancelProgressed(MassCancelProgressed { mass_cancel_id, ..Default::default() });
    let completed =
        |mass_cancel_id| Event::MassCancelCompleted(MassCancelCompleted { mass_cancel_id, ..Default::default() });
    let groups = [
        vec![started],
        vec![is(BrokerStatus::Ready)],
        vec![searched(0)],
        // The search begins at the first order again.
        vec![is(BrokerStatus::Down)],
        vec![accepted(7, 5), accepted(8, 6)],
        vec![searched(1)],
        vec![progressed(8)],
        vec![completed(7)],
        // Of one that is over, and of one that never was.
        vec![searched(1), completed(99)],
    ];
    let journal_dir = dir.path().join("journal");
    write(&journal_dir, &groups);
    let source = source_of(&journal_dir, &dir.path().join("rows.sqlite"));
    // A life for each decision: what is under way is read from the tables.
    for to_seq in 1..=11 {
        let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
        projector.step(to_seq).expect("a batch");
    }
    let (search, mass_cancel) = (2, 1);
    let (under_way, done, begun_anew) = (1, 2, 3);
    let all: Vec<Saga> = rows::<SagaRow>(&source, Vec::new()).iter().map(said).collect();
    assert_eq!(
        all,
        [
            (1, search, 0, (0, 0), begun_anew, 2, 4),
            (4, search, 0, (0, 0), done, 1, 7),
            (5, mass_cancel, 7, (3, 5), done, 1, 9),
            (6, mass_cancel, 8, (3, 6), under_way, 1, 0),
        ]
    );
    let steps = |saga_id| {
        let rows: Vec<SagaStepRow> = rows(&source, vec![("saga_id", Comparison::Is, saga_id)]);
        rows.iter().map(|row| (row.seq, row.step, row.state)).collect::<Vec<_>>()
    };
    assert_eq!(steps(1), [(1, 0, under_way), (3, 1, under_way), (4, 2, begun_anew)]);
    assert_eq!(steps(4), [(4, 0, under_way), (7, 1, done)]);
    assert_eq!(steps(6), [(6, 0, under_way), (8, 1, under_way)]);
    let rows = rows::<SagaRow>(&source, vec![("ended_seq", Comparison::Is, 0)]);
    assert_eq!(rows.iter().map(|row| row.saga_id).collect::<Vec<_>>(), [6], "as the command asks for them");
    let before = dump(&source.path);
    let rebuilt = rebuild(&source, &mut |_, _| true).expect("made anew");
    assert_eq!(rebuilt.differing.as_deref(), Some(&[][..]));
    assert_eq!(dump(&source.path), before);
}
