//! The reports of one session: what its algo was told, one by one, against what the journal says that it is to be told.

use std::collections::{BTreeMap, VecDeque};

use super::history::Told;

/// What a session was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A report of its stream.
    Report(Told),
    /// The answer to a repeated new order: its `seq` is the end of the journal at that time, or 0 for a refusal.
    Answer(Told),
}

/// How far a session has been told what it is to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    told: u64,
    /// By ClOrdID of the order: the last report of it.
    last: BTreeMap<u64, Told>,
    /// Answers that later reports do not bear upon, and some earlier ones may still.
    answers: Vec<Told>,
}

impl Reports {
    /// Reports that were told as the journal has them.
    pub(super) const fn told(&self) -> u64 {
        self.told
    }

    /// Takes in what was heard since the last call and takes it out of what is `due`: each report once, gapless, in
    /// order, as its event is. The journal was read after the algo had heard it.
    pub(super) fn take(&mut self, heard: impl IntoIterator<Item = Heard>, due: &mut VecDeque<Told>) -> Vec<String> {
        let mut wrong = Vec::new();
        for heard in heard {
            let report = match heard {
                Heard::Answer(answer) => {
                    self.answers.push(answer);
                    continue;
                }
                Heard::Report(report) => report,
            };
            while let Some(missing) = due.front().copied().filter(|next| next.seq < report.seq) {
                due.pop_front();
                wrong.push(format!("it was not told {missing:?} before {report:?}"));
                self.note(missing, &mut wrong);
            }
            match due.front().copied().filter(|next| next.seq == report.seq) {
                None => wrong.push(format!("it was told again, out of order, or of no event: {report:?}")),
                Some(event) => {
                    due.pop_front();
                    if event != report {
                        wrong.push(format!("it was told {report:?}, the journal holds {event:?}"));
                    }
                    self.told = self.told.saturating_add(1);
                    self.note(event, &mut wrong);
                }
            }
        }
        wrong
    }

    /// As `take`, with nothing more to come.
    pub(super) fn finish(&mut self, due: &VecDeque<Told>) -> Vec<String> {
        let mut wrong = Vec::new();
        self.settle(u64::MAX, &mut wrong);
        wrong.extend(due.iter().map(|missing| format!("it was not told {missing:?}")));
        wrong
    }

    fn note(&mut self, report: Told, wrong: &mut Vec<String>) {
        self.settle(report.seq, wrong);
        self.last.insert(report.cl_ord_id, report);
    }

    /// An answer says what the order was at its time, which is before the report `seq`.
    fn settle(&mut self, seq: u64, wrong: &mut Vec<String>) {
        // A refusal says what was decided on the order, which does not change.
        let is_due = |answer: &Told| answer.seq < seq && (answer.seq != 0 || seq == u64::MAX);
        for answer in self.answers.extract_if(.., |answer| is_due(answer)) {
            let last = self.last.get(&answer.cl_ord_id).copied().unwrap_or_default();
            let is_true = if answer.seq == 0 {
                (answer.reason, 0) == (last.reason, last.order_id)
            } else {
                let state = |told: &Told| {
                    let Told { order_id, version, status, terms, cum_qty, cum_cost, .. } = *told;
                    (order_id, version, status, terms, cum_qty, cum_cost)
                };
                state(&answer) == state(&last)
            };
            if !is_true {
                wrong.push(format!("a repeated order was answered with {answer:?}, it was {last:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Heard::{Answer, Report};
    use super::*;

    /// Reports of two orders: accepted, accepted, acknowledged, filled; and the reject of a third.
    fn truth() -> [Told; 5] {
        let report = |seq, cl_ord_id, version, exec_type, cum_qty| Told {
            seq,
            exec_type,
            order_id: cl_ord_id,
            cl_ord_id,
            version,
            cum_qty,
            ..Told::default()
        };
        let reject = Told { seq: 17, cl_ord_id: 3, reason: 105, ..Told::default() };
        [report(10, 1, 1, 1, 0), report(11, 2, 1, 1, 0), report(13, 1, 2, 2, 0), report(16, 1, 3, 3, 5), reject]
    }

    /// What an answer says of the order that `report` is about, at a later time.
    fn answer(report: Told, seq: u64) -> Heard {
        Answer(Told { seq, exec_type: 9, ..report })
    }

    fn wrong(heard: &[Heard]) -> Vec<String> {
        let mut reports = Reports::default();
        let mut due: VecDeque<Told> = truth().into();
        let mut wrong = reports.take(heard.iter().copied(), &mut due);
        wrong.extend(reports.finish(&due));
        wrong
    }

    #[test]
    fn reports_as_the_journal_has_them_hold_however_they_are_parted() {
        let [a, b, c, d, e] = truth();
        let heard = [Report(a), Report(b), Report(c), Report(d), Report(e)];
        for parted in 0..=heard.len() {
            let mut reports = Reports::default();
            let mut due: VecDeque<Told> = truth().into();
            let (first, second) = heard.split_at(parted);
            assert_eq!(reports.take(first.iter().copied(), &mut due), [""; 0]);
            assert_eq!(reports.take(second.iter().copied(), &mut due), [""; 0]);
            assert_eq!(reports.finish(&due), [""; 0]);
            assert_eq!(reports.told(), 5);
        }
    }

    #[test]
    fn an_answer_is_held_against_the_order_at_its_time_whichever_comes_first() {
        let [a, b, c, d, e] = truth();
        let refusal = Answer(Told { seq: 0, exec_type: 0, ..e });
        // In time, before a report that was written before it, of a closed order, of a reject.
        for heard in [
            [Report(a), answer(a, 12), Report(b), Report(c), Report(d), Report(e)],
            [answer(a, 12), Report(a), Report(b), Report(c), Report(d), Report(e)],
            [Report(a), Report(b), Report(c), answer(c, 15), Report(d), Report(e)],
            [Report(a), Report(b), Report(c), Report(d), Report(e), answer(d, 99)],
            [Report(a), refusal, Report(b), Report(c), Report(d), Report(e)],
        ] {
            assert_eq!(wrong(&heard), [""; 0], "{heard:?}");
        }
    }

    #[test]
    fn every_lie_about_a_report_is_found() {
        let [a, b, c, d, e] = truth();
        let refusal = |reason| Answer(Told { seq: 0, reason, ..e });
        let forged = Told { seq: 12, ..b };
        let cases: [(&str, Vec<Heard>, &str); 11] = [
            ("missing", vec![Report(a), Report(b), Report(d), Report(e)], "it was not told"),
            ("missing at the end", vec![Report(a), Report(b), Report(c), Report(d)], "it was not told"),
            ("twice", vec![Report(a), Report(b), Report(b), Report(c), Report(d), Report(e)], "told again"),
            ("out of order", vec![Report(a), Report(c), Report(b), Report(d), Report(e)], "out of order"),
            ("of no event", vec![Report(a), Report(b), Report(forged), Report(c), Report(d), Report(e)], "of no event"),
            ("ahead of the journal", vec![Report(Told { seq: 99, ..b })], "of no event"),
            (
                "another fill",
                vec![Report(a), Report(b), Report(c), Report(Told { cum_qty: 6, ..d }), Report(e)],
                "the journal holds",
            ),
            (
                "answer of an older state",
                vec![Report(a), Report(b), Report(c), answer(a, 14), Report(d), Report(e)],
                "was answered with",
            ),
            (
                "answer of a later state",
                vec![Report(a), Report(b), answer(c, 12), Report(c), Report(d), Report(e)],
                "was answered with",
            ),
            (
                "another reject",
                vec![Report(a), Report(b), Report(c), Report(d), Report(e), refusal(1)],
                "was answered with",
            ),
            (
                "reject of what was accepted",
                vec![Report(a), Report(b), Report(c), Report(d), Report(e), Answer(Told { seq: 0, reason: 105, ..a })],
                "was answered with",
            ),
        ];
        for (name, heard, said) in cases {
            let wrong = wrong(&heard);
            assert!(wrong.iter().any(|line| line.contains(said)), "{name}: {wrong:?}");
        }
    }
}
