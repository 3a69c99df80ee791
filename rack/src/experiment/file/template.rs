//! Text in which `{role}` is replaced by the address of a node of that role, `{role[1]}` by that of a certain one, and `{index}` by
//! the number of the node that the text is for, within its role. `{net.250}` is the address number 250 of the nodes' network.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::super::mistake::Mistake;
use super::super::reader::Text;
use super::Role;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Node {
        role: String,
        index: Option<usize>,
    },
    Index,
    /// The address of the network of this role's nodes that ends in this number.
    Net {
        role: String,
        last: u8,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
    /// As it stands in the file.
    pub(crate) text: Text,
}

impl Template {
    /// Reads it.
    ///
    /// # Errors
    /// When a name in braces is no role's, or there is no such node of it.
    pub(crate) fn read(text: Text, roles: &[Role]) -> Result<Self, Mistake> {
        let mut pieces = Vec::new();
        let mut rest = text.text.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, behind)) = behind.split_once('}') else {
                return Err(Mistake::new(text.place(behind), "'}' is missing").help("write {ROLE}"));
            };
            pieces.push(Piece::Text(before.into()));
            pieces.push(match name.strip_prefix("net.") {
                Some(number) => net(&text, number, roles)?,
                None if name == "index" => Piece::Index,
                None => node(&text, name, roles)?,
            });
            rest = behind;
        }
        pieces.push(Piece::Text(rest.into()));
        Ok(Self { pieces, text })
    }

    /// Returns the text for the node with number `of` within its role. `address` knows the addresses by role and index; of a role without an index each node
    /// is given another one, in turn.
    pub(crate) fn fill(
        &self,
        of: usize,
        address: &dyn Fn(&str, usize) -> Option<Ipv4Addr>,
        count: &dyn Fn(&str) -> usize,
    ) -> String {
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Index => of.to_string(),
            Piece::Net { role, last } => address(role, 0).map_or_else(String::new, |address| {
                let [a, b, c, _] = address.octets();
                Ipv4Addr::new(a, b, c, *last).to_string()
            }),
            Piece::Node { role, index } => {
                let index = index.unwrap_or_else(|| of % count(role).max(1));
                address(role, index).map(|address| address.to_string()).unwrap_or_default()
            }
        };
        self.pieces.iter().map(fill).collect()
    }

    /// Returns the text with the longest addresses in place of nodes: to be checked before there are nodes.
    pub(crate) fn sample(&self) -> String {
        self.fill(0, &|_, _| Some(Ipv4Addr::new(10, 254, 254, 254)), &|_| 1)
    }

    /// Adds text at the end.
    pub(super) fn push(&mut self, text: &str) {
        self.pieces.push(Piece::Text(text.into()));
    }

    /// Returns where a word of the filled text stands in the file; the whole if it was filled in.
    pub(super) fn place(&self, word: &str) -> Range<usize> {
        match self.text.text.find(word) {
            Some(at) if !word.is_empty() => self.text.text.get(at..at + word.len()).map(|part| self.text.place(part)),
            _ => None,
        }
        .unwrap_or_else(|| self.text.span.clone())
    }
}

/// Reads the number of an address: 0 and 255 end none that a node can have in the usual networks.
fn net(text: &Text, number: &str, roles: &[Role]) -> Result<Piece, Mistake> {
    let role = roles.first().map(|role| role.name.clone()).unwrap_or_default();
    match number.parse() {
        Ok(last @ 1..=254) => Ok(Piece::Net { role, last }),
        _ => Err(Mistake::new(text.place(number), format!("'{number}' is no number of an address"))
            .help("write {net.250}, with a number from 1 to 254 that no node of the network has")),
    }
}

fn node(text: &Text, name: &str, roles: &[Role]) -> Result<Piece, Mistake> {
    let (role, index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        Some((role, index)) => (role, Some(index)),
        None => (name, None),
    };
    let Some(found) = roles.iter().find(|known| known.name == role) else {
        let known: Vec<_> = roles.iter().map(|role| role.name.as_str()).collect();
        return Err(Mistake::unknown(text.place(role), "role", role, &known));
    };
    let index = index.map(|index| super::check::index(text, index, found)).transpose()?;
    Ok(Piece::Node { role: role.into(), index })
}
