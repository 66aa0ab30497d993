//! A type as the source has it: built in and known by its OID, or made by somebody and described by the catalog.

/// The OID of a column whose values were replaced by hashes: no type of PostgreSQL's has it.
pub const HASHED: u32 = 0;

/// A column's type on the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// One whose OID says it all, or one of which nothing else is known.
    Oid(u32),
    /// An extension's, by its name: its OID differs from database to database.
    Extension(String),
    /// Labels.
    Enum,
    /// A range or multirange that is not built in.
    Range,
    /// Another type with conditions.
    Domain {
        /// The other type.
        base: Box<SourceType>,
        /// Its modifier: the column has none.
        modifier: i32,
    },
    /// Any number of elements, in any number of dimensions.
    Array {
        /// Their type.
        element: Box<SourceType>,
        /// What PostgreSQL prints between them.
        delimiter: u8,
    },
    /// Named attributes.
    Composite(Vec<Field>),
}

/// An attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SourceType,
}

/// `pg_type.oid` of built-in arrays and of their elements.
const BUILT_IN_ARRAYS: [(u32, u32); 66] = [
    (143, 142),
    (199, 114),
    (271, 5069),
    (629, 628),
    (651, 650),
    (719, 718),
    (775, 774),
    (791, 790),
    (1000, 16),
    (1001, 17),
    (1002, 18),
    (1003, 19),
    (1005, 21),
    (1007, 23),
    (1008, 24),
    (1009, 25),
    (1010, 27),
    (1011, 28),
    (1012, 29),
    (1014, 1042),
    (1015, 1043),
    (1016, 20),
    (1017, 600),
    (1018, 601),
    (1019, 602),
    (1020, 603),
    (1021, 700),
    (1022, 701),
    (1027, 604),
    (1028, 26),
    (1034, 1033),
    (1040, 829),
    (1041, 869),
    (1115, 1114),
    (1182, 1082),
    (1183, 1083),
    (1185, 1184),
    (1187, 1186),
    (1231, 1700),
    (1270, 1266),
    (1561, 1560),
    (1563, 1562),
    (2201, 1790),
    (2207, 2202),
    (2208, 2203),
    (2209, 2204),
    (2210, 2205),
    (2211, 2206),
    (2949, 2970),
    (2951, 2950),
    (3221, 3220),
    (3643, 3614),
    (3645, 3615),
    (3735, 3734),
    (3770, 3769),
    (3807, 3802),
    (3905, 3904),
    (3907, 3906),
    (3909, 3908),
    (3911, 3910),
    (3913, 3912),
    (3927, 3926),
    (4073, 4072),
    (4090, 4089),
    (4097, 4096),
    (4192, 4191),
];
/// The same, of arrays of snapshots and multiranges.
const NEWER_ARRAYS: [(u32, u32); 7] =
    [(5039, 5038), (6150, 4451), (6151, 4532), (6152, 4533), (6153, 4534), (6155, 4535), (6157, 4536)];

/// `box`, the only built-in type with another delimiter than a comma.
const BOX: u32 = 603;

impl SourceType {
    /// A type of which nothing but the OID is known.
    #[must_use]
    pub fn of_oid(oid: u32) -> Self {
        match BUILT_IN_ARRAYS.iter().chain(&NEWER_ARRAYS).find(|(array, _)| *array == oid) {
            Some(&(_, element)) => SourceType::Array {
                element: Box::new(SourceType::Oid(element)),
                delimiter: if element == BOX { b';' } else { b',' },
            },
            None => SourceType::Oid(oid),
        }
    }

    /// What is behind domains, with its modifier: the innermost domain's is the one that counts.
    #[must_use]
    pub fn behind_domains(&self, modifier: i32) -> (&SourceType, i32) {
        match self {
            SourceType::Domain { base, modifier } => base.behind_domains(*modifier),
            other => (other, modifier),
        }
    }
}
