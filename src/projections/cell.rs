//! What stands in a column: kinds of columns, and how a value of each becomes cells that both databases hold alike.
//!
//! Every number is an integer, so that sums and comparisons are exact. Prices and quantities of orders are one integer
//! of 10⁻⁹. Amounts and money are wider than an integer of a database: they are two, the whole units below, and a
//! fraction from 0 that is added. So they sort by (whole, fraction), and are summed part by part.

use tradecore_protocol::fields::Px;

/// A value of a column in a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Nothing.
    Null,
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A number that no column of its kind can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column} = {value} × 10^-{places} does not fit: its whole units are an integer of 64 bits")]
pub struct Unfit {
    /// The column.
    pub column: &'static str,
    /// What it should hold, in units of its last place.
    pub value: i128,
    /// Decimal places of these units.
    pub places: u32,
}

/// A row that this release did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cell of table {table} is not of its kind")]
pub struct BadRow {
    /// The table.
    pub table: &'static str,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count, or a number of at most 32 bits.
    Count,
    /// A number of 64 bits; from 2⁶³ on the database shows it less 2⁶⁴, its view and the commands as it is.
    Id,
    /// UTC ns since 1970, or a span in ns; 0 for none.
    Time,
    /// 0 or 1.
    Flag,
    /// A code of the protocol, by the name of its list.
    Code(&'static str),
    /// An integer × 10⁻⁹.
    Units,
    /// A price × 10⁻⁹; null where there is none.
    Price,
    /// An amount × 10⁻⁹, in two columns.
    Amount,
    /// Money × 10⁻¹⁸, in two columns.
    Money,
    /// A whole number of up to 128 bits, as text.
    Number,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

impl Kind {
    /// Decimal places of its fraction, for a kind of two columns.
    #[must_use]
    pub const fn fraction_places(self) -> Option<u32> {
        match self {
            Self::Amount => Some(9),
            Self::Money => Some(18),
            _ => None,
        }
    }

    /// Columns that it takes.
    #[must_use]
    pub const fn width(self) -> usize {
        if self.fraction_places().is_some() { 2 } else { 1 }
    }
}

/// The cells of a row, one after the other.
#[derive(Debug)]
pub struct CellReader<'a> {
    cells: std::slice::Iter<'a, Cell>,
    table: &'static str,
}

impl<'a> CellReader<'a> {
    /// Reads the cells of a row of a table.
    #[must_use]
    pub fn new(table: &'static str, cells: &'a [Cell]) -> Self {
        Self { cells: cells.iter(), table }
    }

    const fn bad(&self) -> BadRow {
        BadRow { table: self.table }
    }

    fn int(&mut self) -> Result<i64, BadRow> {
        match self.cells.next() {
            Some(Cell::Int(value)) => Ok(*value),
            _ => Err(self.bad()),
        }
    }

    fn narrow<T: TryFrom<i64>>(&mut self) -> Result<T, BadRow> {
        let value = self.int()?;
        T::try_from(value).map_err(|_| self.bad())
    }
}

/// How a value of Rust becomes cells; one implementor for each kind, by its name.
pub trait Column {
    /// What stands in the row.
    type Value: Clone + core::fmt::Debug + Default + PartialEq + Eq;
    /// Checks that the value fits.
    ///
    /// # Errors
    /// When no cell can hold it.
    fn check(_: &Self::Value, _: &'static str) -> Result<(), Unfit> {
        Ok(())
    }
    /// Adds its cells.
    fn put(value: &Self::Value, out: &mut Vec<Cell>);
    /// Reads them back.
    ///
    /// # Errors
    /// When they are not of this kind.
    fn take(cells: &mut CellReader<'_>) -> Result<Self::Value, BadRow>;
}

macro_rules! ints {
    ($($(#[doc = $doc:literal])+ $Kind:ident $Value:ty;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $Kind;
        impl Column for $Kind {
            type Value = $Value;
            fn put(value: &$Value, out: &mut Vec<Cell>) {
                // What is as wide as a cell keeps its bits.
                out.push(Cell::Int(*value as i64));
            }
            fn take(cells: &mut CellReader<'_>) -> Result<$Value, BadRow> {
                Ok(cells.int()? as $Value)
            }
        }
    )+};
}
ints! {
    /// `Kind::Id`.
    Id u64;
    /// `Kind::Time`.
    Time u64;
    /// `Kind::Units`.
    Units i64;
}

macro_rules! narrow_ints {
    ($($(#[doc = $doc:literal])+ $Kind:ident $Value:ty;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $Kind;
        impl Column for $Kind {
            type Value = $Value;
            fn put(value: &$Value, out: &mut Vec<Cell>) {
                out.push(Cell::Int(i64::from(*value)));
            }
            fn take(cells: &mut CellReader<'_>) -> Result<$Value, BadRow> {
                cells.narrow()
            }
        }
    )+};
}
narrow_ints! {
    /// `Kind::Count`.
    Count u32;
    /// `Kind::Code`.
    Code u16;
}

/// `Kind::Flag`.
#[derive(Debug)]
pub struct Flag;
impl Column for Flag {
    type Value = bool;
    fn put(value: &bool, out: &mut Vec<Cell>) {
        out.push(Cell::Int(i64::from(*value)));
    }
    fn take(cells: &mut CellReader<'_>) -> Result<bool, BadRow> {
        Ok(cells.int()? != 0)
    }
}

/// `Kind::Price`.
#[derive(Debug)]
pub struct Price;
impl Column for Price {
    type Value = i64;
    fn put(value: &i64, out: &mut Vec<Cell>) {
        out.push(if *value == Px::NONE.0 { Cell::Null } else { Cell::Int(*value) });
    }
    fn take(cells: &mut CellReader<'_>) -> Result<i64, BadRow> {
        match cells.cells.next() {
            Some(Cell::Null) => Ok(Px::NONE.0),
            Some(Cell::Int(value)) => Ok(*value),
            _ => Err(cells.bad()),
        }
    }
}

/// Whole units below a number, and the fraction above them.
#[must_use]
pub fn split(value: i128, places: u32) -> (Option<i64>, i64) {
    let one = 10_i128.saturating_pow(places);
    let whole = value.checked_div_euclid(one).and_then(|whole| i64::try_from(whole).ok());
    (whole, value.checked_rem_euclid(one).and_then(|rest| i64::try_from(rest).ok()).unwrap_or(0))
}

/// The number of whole units and a fraction.
#[must_use]
pub fn join(whole: i64, fraction: i64, places: u32) -> i128 {
    i128::from(whole).saturating_mul(10_i128.saturating_pow(places)).saturating_add(i128::from(fraction))
}

macro_rules! wide {
    ($($(#[doc = $doc:literal])+ $Kind:ident $places:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $Kind;
        impl Column for $Kind {
            type Value = i128;
            fn check(value: &i128, column: &'static str) -> Result<(), Unfit> {
                match split(*value, $places) {
                    (Some(_), _) => Ok(()),
                    (None, _) => Err(Unfit { column, value: *value, places: $places }),
                }
            }
            fn put(value: &i128, out: &mut Vec<Cell>) {
                let (whole, fraction) = split(*value, $places);
                // Every row is checked before it is kept: there is a whole.
                out.extend([whole.map_or(Cell::Null, Cell::Int), Cell::Int(fraction)]);
            }
            fn take(cells: &mut CellReader<'_>) -> Result<i128, BadRow> {
                Ok(join(cells.int()?, cells.int()?, $places))
            }
        }
    )+};
}
wide! {
    /// `Kind::Amount`.
    Amount 9;
    /// `Kind::Money`.
    Money 18;
}

/// `Kind::Number`.
#[derive(Debug)]
pub struct Number;
impl Column for Number {
    type Value = i128;
    fn put(value: &i128, out: &mut Vec<Cell>) {
        out.push(Cell::Text(value.to_string()));
    }
    fn take(cells: &mut CellReader<'_>) -> Result<i128, BadRow> {
        Text::take(cells)?.parse().map_err(|_| cells.bad())
    }
}

/// `Kind::Text`.
#[derive(Debug)]
pub struct Text;
impl Column for Text {
    type Value = String;
    fn put(value: &String, out: &mut Vec<Cell>) {
        out.push(Cell::Text(value.clone()));
    }
    fn take(cells: &mut CellReader<'_>) -> Result<String, BadRow> {
        match cells.cells.next() {
            Some(Cell::Text(text)) => Ok(text.clone()),
            _ => Err(cells.bad()),
        }
    }
}

/// `Kind::Bytes`.
#[derive(Debug)]
pub struct Bytes;
impl Column for Bytes {
    type Value = Vec<u8>;
    fn put(value: &Vec<u8>, out: &mut Vec<Cell>) {
        out.push(Cell::Bytes(value.clone()));
    }
    fn take(cells: &mut CellReader<'_>) -> Result<Vec<u8>, BadRow> {
        match cells.cells.next() {
            Some(Cell::Bytes(bytes)) => Ok(bytes.clone()),
            _ => Err(cells.bad()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn wide_numbers_are_kept_exactly_and_sort_as_their_cells_do() {
        let one = 1_000_000_000_000_000_000_i128;
        let values =
            [i128::from(i64::MIN) * one, -one - 1, -one, -1, 0, 1, one - 1, one, i128::from(i64::MAX) * one + 7];
        let mut last = None;
        for value in values {
            let mut cells = Vec::new();
            Money::check(&value, "cash").unwrap();
            Money::put(&value, &mut cells);
            let [Cell::Int(whole), Cell::Int(fraction)] = cells.as_slice() else { panic!("{value}: {cells:?}") };
            assert!((0..1_000_000_000_000_000_000).contains(fraction), "{value}");
            assert!(last < Some((*whole, *fraction)), "{value} sorts behind the one before it");
            last = Some((*whole, *fraction));
            assert_eq!(Money::take(&mut CellReader::new("t", &cells)), Ok(value));
        }
        for value in [i128::MAX, i128::MIN, (i128::from(i64::MAX) + 1) * one] {
            assert_eq!(Money::check(&value, "cash"), Err(Unfit { column: "cash", value, places: 18 }));
        }
    }

    #[test]
    fn a_number_of_64_bits_keeps_its_bits_and_no_price_is_null() {
        let mut cells = Vec::new();
        Id::put(&u64::MAX, &mut cells);
        Price::put(&Px::NONE.0, &mut cells);
        Price::put(&-5, &mut cells);
        assert_eq!(cells, [Cell::Int(-1), Cell::Null, Cell::Int(-5)]);
        let mut reader = CellReader::new("t", &cells);
        assert_eq!(Id::take(&mut reader), Ok(u64::MAX));
        assert_eq!((Price::take(&mut reader), Price::take(&mut reader)), (Ok(Px::NONE.0), Ok(-5)));
        assert_eq!(Count::take(&mut CellReader::new("t", &[Cell::Int(-1)])), Err(BadRow { table: "t" }));
    }
}
