//! Events as a Parquet file, for analysis: a row an event, a column for each field that any event has.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use tradecore_domain::event::{Event, Field, FieldValue};
use tradecore_protocol::fields::Px;

use super::domains::{Aggregate, Domain};
use super::fields::{Meaning, meaning};
use super::json::{Place, text_of};

/// Rows that are held in memory until they are written.
const GROUP_ROWS: usize = 1 << 15;
/// Greatest number of digits of a decimal.
const DIGITS: i32 = 38;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The writer, or what is below it.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// A decimal of more digits than the format has.
    #[error("event {seq}: {column} has more than {DIGITS} digits; export it as JSON")]
    TooWide {
        /// The event.
        seq: u64,
        /// The column.
        column: String,
    },
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Time,
    Mark,
    Text,
    Decimal(i32),
}

impl Kind {
    /// Of a field: as in JSON, but for decimals, which are decimals.
    fn of(field: &Field<'_>) -> Self {
        match (meaning(field.name).unwrap_or(Meaning::Integer), field.value) {
            (Meaning::Px | Meaning::Units, _) => Self::Decimal(9),
            (Meaning::Money, _) => Self::Decimal(18),
            (Meaning::Mark, _) => Self::Mark,
            (Meaning::Integer, FieldValue::Short(_)) => Self::Integer,
            (Meaning::Integer | Meaning::Code(_) | Meaning::Bits(_) | Meaning::Text, _) => Self::Text,
        }
    }

    fn schema(self, name: &str, repetition: Repetition) -> Result<Type, ParquetError> {
        let physical = match self {
            Self::Integer | Self::Time => Physical::INT64,
            Self::Mark => Physical::BOOLEAN,
            Self::Text => Physical::BYTE_ARRAY,
            Self::Decimal(_) => Physical::FIXED_LEN_BYTE_ARRAY,
        };
        let column = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        match self {
            Self::Integer | Self::Mark => column,
            Self::Time => column.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
            Self::Text => column.with_logical_type(Some(LogicalType::String)),
            Self::Decimal(scale) => column
                .with_length(16)
                .with_precision(DIGITS)
                .with_scale(scale)
                .with_logical_type(Some(LogicalType::decimal(scale, DIGITS))),
        }
        .build()
    }
}

#[derive(Debug)]
enum Values {
    Integers(Vec<i64>),
    Marks(Vec<bool>),
    Texts(Vec<ByteArray>),
    Decimals(Vec<FixedLenByteArray>),
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
    is_optional: bool,
    values: Values,
    /// Of an optional column, for each row: 1 with a value, 0 without.
    levels: Vec<i16>,
}

impl Column {
    fn new(name: String, kind: Kind, is_optional: bool) -> Self {
        let values = match kind {
            Kind::Integer | Kind::Time => Values::Integers(Vec::new()),
            Kind::Mark => Values::Marks(Vec::new()),
            Kind::Text => Values::Texts(Vec::new()),
            Kind::Decimal(_) => Values::Decimals(Vec::new()),
        };
        Self { name, kind, is_optional, values, levels: Vec::new() }
    }

    fn add_integer(&mut self, value: i64) {
        if let Values::Integers(values) = &mut self.values {
            values.push(value);
            self.levels.push(1);
        }
    }

    fn add_text(&mut self, value: String) {
        if let Values::Texts(values) = &mut self.values {
            values.push(value.into_bytes().into());
            self.levels.push(1);
        }
    }

    /// False when a decimal does not fit.
    fn add_field(&mut self, field: &Field<'_>) -> bool {
        let of_field = meaning(field.name).unwrap_or(Meaning::Integer);
        match (of_field, field.value) {
            (Meaning::Px, FieldValue::Signed(number)) if number == i128::from(Px::NONE.0) => return true,
            (Meaning::Code(_), FieldValue::Short(0)) => return true,
            _ => {}
        }
        match (&mut self.values, field.value) {
            (Values::Integers(values), FieldValue::Short(number)) => values.push(number.into()),
            (Values::Marks(values), FieldValue::Short(number)) => values.push(number != 0),
            (Values::Decimals(values), FieldValue::Signed(number)) => {
                if number.unsigned_abs() >= 10_u128.saturating_pow(DIGITS as u32) {
                    return false;
                }
                values.push(number.to_be_bytes().to_vec().into());
            }
            (Values::Texts(values), value) => values.push(text(of_field, value).into_bytes().into()),
            (Values::Integers(_) | Values::Marks(_) | Values::Decimals(_), _) => return true,
        }
        self.levels.push(1);
        true
    }

    /// A row that said nothing of it has none.
    fn end_row(&mut self, rows: usize) {
        self.levels.resize(rows, 0);
    }

    fn clear(&mut self) {
        self.levels.clear();
        match &mut self.values {
            Values::Integers(values) => values.clear(),
            Values::Marks(values) => values.clear(),
            Values::Texts(values) => values.clear(),
            Values::Decimals(values) => values.clear(),
        }
    }
}

fn text(meaning: Meaning, value: FieldValue<'_>) -> String {
    match (meaning, value) {
        (Meaning::Code(codes), FieldValue::Short(raw)) => {
            (codes.name_of)(raw).map_or_else(|| raw.to_string(), str::to_owned)
        }
        (Meaning::Bits(table), FieldValue::Short(bits)) => {
            let set = (0..u32::BITS).map(|nth| 1_u32 << nth).filter(|bit| bits & bit != 0);
            let name = |bit: u32| match table.iter().find(|(known, ..)| u32::from(*known) == bit) {
                Some((_, name, _)) => (*name).to_owned(),
                None => bit.to_string(),
            };
            set.map(name).collect::<Vec<_>>().join("|")
        }
        (_, FieldValue::Short(number)) => number.to_string(),
        (_, FieldValue::Unsigned(number)) => number.to_string(),
        (_, FieldValue::Signed(number)) => number.to_string(),
        (_, FieldValue::Text(bytes)) => text_of(bytes),
    }
}

/// The column of a field: with its part in front, unless the name begins with it; what has the name of a column of the
/// place is the event's.
fn column_name(part: &str, name: &str) -> String {
    if part.is_empty() && PLACE.iter().any(|(taken, _)| *taken == name) {
        return format!("event_{name}");
    }
    if part.is_empty() || name.strip_prefix(part).is_some_and(|rest| rest.starts_with('_')) {
        return name.to_owned();
    }
    format!("{part}_{name}")
}

/// Columns that every row has, in front of those of fields.
const PLACE: [(&str, Kind); 8] = [
    ("seq", Kind::Integer),
    ("time", Kind::Time),
    ("epoch", Kind::Integer),
    ("stream", Kind::Text),
    ("domain", Kind::Text),
    ("event", Kind::Text),
    ("version", Kind::Integer),
    ("subject", Kind::Text),
];

/// Writes rows, some thousands at once.
pub struct Rows<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Column>,
    /// Of each type and version: the columns of its fields, in their order.
    of_events: BTreeMap<(u16, u8), Vec<usize>>,
    rows: usize,
}

impl<W: Write + Send> Rows<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// As the writer does.
    pub fn new(out: W) -> Result<Self, RowError> {
        let mut columns: Vec<Column> =
            PLACE.iter().map(|(name, kind)| Column::new((*name).to_owned(), *kind, false)).collect();
        let mut of_events = BTreeMap::new();
        for event in Event::zeroed() {
            let mut of_event = Vec::new();
            event.visit_parts(&mut |field| {
                let (name, kind) = (column_name(field.part, field.name), Kind::of(field));
                let known =
                    columns.iter().skip(PLACE.len()).position(|column| column.name == name && column.kind == kind);
                of_event.push(known.map_or(columns.len(), |at| at.saturating_add(PLACE.len())));
                if known.is_none() {
                    columns.push(Column::new(name, kind, true));
                }
            });
            of_events.insert(event.kind(), of_event);
        }
        let fields = columns.iter().map(|column| {
            let repetition = if column.is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
            column.kind.schema(&column.name, repetition).map(TypePtr::new)
        });
        let fields = fields.collect::<Result<Vec<TypePtr>, ParquetError>>()?;
        let schema = Type::group_type_builder("event").with_fields(fields).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::LZ4_RAW).build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { writer, columns, of_events, rows: 0 })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// As the writer does, or when a number does not fit.
    pub fn add(&mut self, place: &Place, event: &Event) -> Result<(), RowError> {
        let Place { stream, epoch, seq, ts_ns } = *place;
        let (_, version) = event.kind();
        for column in self.columns.iter_mut().take(PLACE.len()) {
            match column.name.as_str() {
                "seq" => column.add_integer(seq.cast_signed()),
                "time" => column.add_integer(ts_ns.cast_signed()),
                "epoch" => column.add_integer(epoch.into()),
                "stream" => column.add_text(stream.to_string()),
                "domain" => column.add_text(Domain::of(event).name().to_owned()),
                "event" => column.add_text(event.name().to_owned()),
                "version" => column.add_integer(version.into()),
                _ => column.add_text(Aggregate::of(event).to_string()),
            }
        }
        let of_event = self.of_events.get(&event.kind()).map_or(&[][..], Vec::as_slice);
        let (mut places, columns) = (of_event.iter(), &mut self.columns);
        let mut too_wide = None;
        event.visit_parts(&mut |field| {
            if let Some(column) = places.next().and_then(|at| columns.get_mut(*at))
                && !column.add_field(field)
            {
                too_wide = Some(column.name.clone());
            }
        });
        if let Some(column) = too_wide {
            return Err(RowError::TooWide { seq, column });
        }
        self.rows = self.rows.saturating_add(1);
        self.columns.iter_mut().for_each(|column| column.end_row(self.rows));
        if self.rows == GROUP_ROWS {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), RowError> {
        let mut group = self.writer.next_row_group()?;
        for column in &self.columns {
            let Some(mut writer) = group.next_column()? else { break };
            let levels = column.is_optional.then_some(column.levels.as_slice());
            match &column.values {
                Values::Integers(values) => writer.typed::<Int64Type>().write_batch(values, levels, None)?,
                Values::Marks(values) => writer.typed::<BoolType>().write_batch(values, levels, None)?,
                Values::Texts(values) => writer.typed::<ByteArrayType>().write_batch(values, levels, None)?,
                Values::Decimals(values) => {
                    writer.typed::<FixedLenByteArrayType>().write_batch(values, levels, None)?
                }
            };
            writer.close()?;
        }
        group.close()?;
        self.columns.iter_mut().for_each(Column::clear);
        self.rows = 0;
        Ok(())
    }

    /// Ends the file, which is none without it; what it was written to.
    ///
    /// # Errors
    /// As the writer does.
    pub fn end(mut self) -> Result<W, RowError> {
        if self.rows != 0 {
            self.write_group()?;
        }
        Ok(self.writer.into_inner()?)
    }
}
