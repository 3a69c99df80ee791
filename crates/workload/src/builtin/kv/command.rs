//! Commands: one table, looked up by name, and what they have at hand.

mod connection;
mod info;
mod keys;
mod lists;
mod pattern;
mod replica;
mod strings;

use core::fmt::{self, Write as _};

use resp::{Argument, Sink as _};

use super::cells::Text;
use super::out::{Out, Reply};
use super::session::{Facts, Fate, Long, put_unknown};
use super::store::Store;
use super::value::{Refusal, Value};

/// A command.
struct Command {
    name: &'static str,
    /// How many arguments it has, with its name; if negative, at least as many.
    arity: i8,
    access: Access,
    run: fn(&mut Call<'_>) -> Result<(), Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// About no key.
    Talk,
    Read,
    /// Refused by a store that follows another, except from that.
    Write,
    /// Only from the store that this one follows.
    Source,
}

macro_rules! commands {
    ($($name:literal $arity:literal $access:ident $run:path,)+) => {
        /// Every command, by name.
        static COMMANDS: &[Command] =
            &[$(Command { name: $name, arity: $arity, access: Access::$access, run: $run }),+];
    };
}

commands! {
    "append" 3 Write strings::append,
    "client" -2 Talk connection::client,
    "command" -1 Talk connection::command,
    "config" -2 Talk info::config,
    "copied" 1 Source replica::copied,
    "dbsize" 1 Read keys::dbsize,
    "decr" 2 Write strings::decr,
    "decrby" 3 Write strings::decrby,
    "del" -2 Write keys::del,
    "echo" 2 Talk connection::echo,
    "exists" -2 Read keys::exists,
    "expire" 3 Write keys::expire,
    "flushall" -1 Write keys::flush,
    "flushdb" -1 Write keys::flush,
    "get" 2 Read strings::get,
    "getdel" 2 Write strings::getdel,
    "getset" 3 Write strings::getset,
    "hello" -1 Talk connection::hello,
    "incr" 2 Write strings::incr,
    "incrby" 3 Write strings::incrby,
    "info" -1 Talk info::info,
    "keys" 2 Read keys::keys,
    "lindex" 3 Read lists::lindex,
    "llen" 2 Read lists::llen,
    "lpop" -2 Write lists::lpop,
    "lpush" -3 Write lists::lpush,
    "lrange" 4 Read lists::lrange,
    "mget" -2 Read strings::mget,
    "mset" -3 Write strings::mset,
    "offset" 2 Source replica::offset,
    "persist" 2 Write keys::persist,
    "pexpire" 3 Write keys::pexpire,
    "ping" -1 Talk connection::ping,
    "psetex" 4 Write strings::psetex,
    "pttl" 2 Read keys::pttl,
    "quit" -1 Talk connection::quit,
    "replicate" 2 Talk replica::replicate,
    "rpop" -2 Write lists::rpop,
    "rpush" -3 Write lists::rpush,
    "scan" -2 Read keys::scan,
    "select" 2 Talk connection::select,
    "set" -3 Write strings::set,
    "setex" 4 Write strings::setex,
    "setnx" 3 Write strings::setnx,
    "strlen" 2 Read strings::strlen,
    "ttl" 2 Read keys::ttl,
    "type" 2 Read keys::type_of,
    "unlink" -2 Write keys::del,
}

/// Longest name of a command.
const NAME_LEN_MAX: usize = 16;

/// What a command works with.
pub(super) struct Call<'a> {
    pub(super) store: &'a mut Store,
    pub(super) facts: &'a mut Facts,
    pub(super) request: Request<'a>,
    pub(super) out: &'a mut Out,
    pub(super) fate: &'a mut Fate,
    pub(super) is_source: bool,
}

/// The arguments of a command.
pub(super) struct Request<'a> {
    pub(super) input: &'a [u8],
    pub(super) arguments: &'a [Argument],
    pub(super) longs: &'a mut [Long],
}

impl<'a> Request<'a> {
    /// Returns how many arguments there are, with the command's name.
    fn len(&self) -> usize {
        self.arguments.len()
    }

    /// Returns an argument that has no reason to be long.
    fn bytes(&self, index: usize) -> Result<&'a [u8], Refusal> {
        match self.arguments.get(index) {
            Some(Argument::Range { start, len }) => self.input.get(*start..start + len).ok_or(Refusal::Syntax),
            Some(Argument::Held(_)) => Err(Refusal::ArgumentLength),
            None => Err(Refusal::Syntax),
        }
    }

    /// Takes an argument that may be long: the second time a long one is empty.
    fn take(&mut self, index: usize) -> Result<Value<'a>, Refusal> {
        if let Some(Argument::Held(long)) = self.arguments.get(index)
            && let Some(long) = self.longs.get_mut(*long)
        {
            return Ok(Value::Chain(core::mem::replace(&mut long.chain, super::cells::Chain::EMPTY)));
        }
        self.bytes(index).map(Value::Bytes)
    }

    /// Returns the length of an argument.
    fn value_len(&self, index: usize) -> usize {
        match self.arguments.get(index) {
            Some(Argument::Range { len, .. }) => *len,
            Some(Argument::Held(long)) => self.longs.get(*long).map_or(0, |long| long.chain.len),
            None => 0,
        }
    }

    fn integer(&self, index: usize) -> Result<i64, Refusal> {
        resp::parse_integer(self.bytes(index)?).ok_or(Refusal::Integer)
    }

    /// Returns whether an argument is this word, in capitals or not.
    fn is(&self, index: usize, word: &str) -> bool {
        self.bytes(index).is_ok_and(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()))
    }
}

impl Call<'_> {
    fn reply(&mut self) -> Reply<'_> {
        Reply { out: self.out, cells: &mut self.store.cells }
    }

    fn simple(&mut self, text: &str) -> Result<(), Refusal> {
        resp::simple(&mut self.reply(), text);
        Ok(())
    }

    fn ok(&mut self) -> Result<(), Refusal> {
        self.simple("OK")
    }

    fn integer(&mut self, number: i64) -> Result<(), Refusal> {
        resp::integer(&mut self.reply(), number);
        Ok(())
    }

    fn count(&mut self, count: usize) -> Result<(), Refusal> {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    fn bulk(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        resp::bulk(&mut self.reply(), bytes);
        Ok(())
    }

    fn null(&mut self) -> Result<(), Refusal> {
        resp::null(&mut self.reply());
        Ok(())
    }

    fn array(&mut self, len: usize) {
        resp::array(&mut self.reply(), len);
    }

    /// Replies with a stored string, or with none.
    fn text(&mut self, text: Option<Text>) -> Result<(), Refusal> {
        match text {
            Some(text) => self.out.bulk(&mut self.store.cells, text),
            None => resp::null(&mut self.reply()),
        }
        Ok(())
    }
}

/// Runs the command that the request names.
pub(super) fn run(call: &mut Call<'_>) -> Result<(), Refusal> {
    let name = call.request.bytes(0)?;
    let is_known = |command: &&Command| command.access != Access::Source || call.is_source;
    let Some(command) = find(name).filter(is_known) else {
        call.facts.refusals += 1;
        put_unknown(&mut call.reply(), name);
        return Ok(());
    };
    let (len, arity) = (call.request.len(), usize::from(command.arity.unsigned_abs()));
    if len < arity || command.arity > 0 && len > arity {
        return Err(Refusal::ArgumentCount(command.name));
    }
    if command.access == Access::Write && call.facts.replica.is_some() && !call.is_source {
        return Err(Refusal::ReadOnly);
    }
    if matches!(command.access, Access::Read | Access::Write) && !call.is_source {
        if call.facts.acks > 0 && call.facts.replica.is_some() {
            return Err(Refusal::Follower);
        }
        call.facts.key_commands += 1;
    }
    (command.run)(call)
}

fn find(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0; NAME_LEN_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let index = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()?;
    COMMANDS.get(index)
}

/// Writes an error as a reply.
pub(super) fn put_error(reply: &mut Reply<'_>, error: &impl fmt::Display) {
    struct Text<'a, 'b>(&'a mut Reply<'b>);
    impl fmt::Write for Text<'_, '_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // A byte that a client has sent must not end the line.
            for part in text.split(['\r', '\n']) {
                self.0.put(part.as_bytes());
            }
            Ok(())
        }
    }
    reply.put(b"-");
    // Never fails: see above.
    let _ = write!(Text(reply), "{error}");
    reply.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_are_found_in_any_case() {
        assert!(COMMANDS.is_sorted_by(|a, b| a.name < b.name));
        for command in COMMANDS {
            assert!(command.name.len() <= NAME_LEN_MAX);
            assert_eq!(find(command.name.to_uppercase().as_bytes()).unwrap().name, command.name);
        }
        assert!(find(b"gett").is_none() && find(b"").is_none() && find(&[b'x'; 100]).is_none());
    }
}
