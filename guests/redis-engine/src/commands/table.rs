// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of commands.

use super::context::{Command, Context, Outcome};
use super::{
    connection, expiry, hashes, keys, lists, persistence, scan, server, sets, strings, zsets,
};

const NONE: (i32, i32, i32) = (0, 0, 0);
const ONE: (i32, i32, i32) = (1, 1, 1);
const TWO: (i32, i32, i32) = (1, 2, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const PAIRS: (i32, i32, i32) = (1, -1, 2);

/// Returns a command that only reads.
const fn read(
    name: &'static str,
    arity: i32,
    keys: (i32, i32, i32),
    run: fn(&mut Context<'_>) -> Outcome,
) -> Command {
    Command { name, arity, grows: false, reads: true, keys, run }
}

/// Returns a command that changes data without needing more memory.
const fn change(
    name: &'static str,
    arity: i32,
    keys: (i32, i32, i32),
    run: fn(&mut Context<'_>) -> Outcome,
) -> Command {
    Command { name, arity, grows: false, reads: false, keys, run }
}

/// Returns a command that may need more memory.
const fn grow(
    name: &'static str,
    arity: i32,
    keys: (i32, i32, i32),
    run: fn(&mut Context<'_>) -> Outcome,
) -> Command {
    Command { name, arity, grows: true, reads: false, keys, run }
}

/// All commands, sorted by name.
pub(crate) static TABLE: [Command; 103] = [
    grow("append", 3, ONE, strings::append),
    read("auth", -2, NONE, connection::auth),
    read("bgsave", -1, NONE, persistence::bgsave),
    read("client", -2, NONE, connection::client),
    read("command", -1, NONE, server::command),
    read("config", -2, NONE, server::config),
    read("dbsize", 1, NONE, server::dbsize),
    read("debug", -2, NONE, server::debug),
    grow("decr", 2, ONE, strings::decr),
    grow("decrby", 3, ONE, strings::decrby),
    change("del", -2, ALL, keys::del),
    read("echo", 2, NONE, connection::echo),
    read("exists", -2, ALL, keys::exists),
    grow("expire", -3, ONE, expiry::expire),
    grow("expireat", -3, ONE, expiry::expireat),
    read("expiretime", 2, ONE, expiry::expiretime),
    change("flushall", -1, NONE, server::flushall),
    change("flushdb", -1, NONE, server::flushall),
    read("get", 2, ONE, strings::get),
    change("getdel", 2, ONE, strings::getdel),
    read("getrange", 4, ONE, strings::getrange),
    grow("getset", 3, ONE, strings::getset),
    change("hdel", -3, ONE, hashes::hdel),
    read("hello", -1, NONE, connection::hello),
    read("hexists", 3, ONE, hashes::hexists),
    read("hget", 3, ONE, hashes::hget),
    read("hgetall", 2, ONE, hashes::hgetall),
    grow("hincrby", 4, ONE, hashes::hincrby),
    read("hkeys", 2, ONE, hashes::hkeys),
    read("hlen", 2, ONE, hashes::hlen),
    read("hmget", -3, ONE, hashes::hmget),
    grow("hmset", -4, ONE, hashes::hmset),
    read("hscan", -3, ONE, scan::hscan),
    grow("hset", -4, ONE, hashes::hset),
    grow("hsetnx", 4, ONE, hashes::hsetnx),
    read("hstrlen", 3, ONE, hashes::hstrlen),
    read("hvals", 2, ONE, hashes::hvals),
    grow("incr", 2, ONE, strings::incr),
    grow("incrby", 3, ONE, strings::incrby),
    grow("incrbyfloat", 3, ONE, strings::incrbyfloat),
    read("info", -1, NONE, server::info),
    read("keys", 2, NONE, keys::keys),
    read("lastsave", 1, NONE, persistence::lastsave),
    read("lindex", 3, ONE, lists::lindex),
    read("llen", 2, ONE, lists::llen),
    change("lpop", -2, ONE, lists::lpop),
    grow("lpush", -3, ONE, lists::lpush),
    grow("lpushx", -3, ONE, lists::lpushx),
    read("lrange", 4, ONE, lists::lrange),
    change("lrem", 4, ONE, lists::lrem),
    grow("lset", 4, ONE, lists::lset),
    change("ltrim", 4, ONE, lists::ltrim),
    read("mget", -2, ALL, strings::mget),
    grow("mset", -3, PAIRS, strings::mset),
    grow("msetnx", -3, PAIRS, strings::msetnx),
    change("persist", 2, ONE, expiry::persist),
    grow("pexpire", -3, ONE, expiry::pexpire),
    grow("pexpireat", -3, ONE, expiry::pexpireat),
    read("pexpiretime", 2, ONE, expiry::pexpiretime),
    read("ping", -1, NONE, connection::ping),
    grow("psetex", 4, ONE, strings::psetex),
    read("pttl", 2, ONE, expiry::pttl),
    read("quit", -1, NONE, connection::quit),
    read("randomkey", 1, NONE, keys::randomkey),
    grow("rename", 3, TWO, keys::rename),
    grow("renamenx", 3, TWO, keys::renamenx),
    read("reset", 1, NONE, connection::reset),
    change("rpop", -2, ONE, lists::rpop),
    grow("rpush", -3, ONE, lists::rpush),
    grow("rpushx", -3, ONE, lists::rpushx),
    grow("sadd", -3, ONE, sets::sadd),
    read("save", 1, NONE, persistence::save),
    read("scan", -2, NONE, scan::scan),
    read("scard", 2, ONE, sets::scard),
    read("select", 2, NONE, connection::select),
    grow("set", -3, ONE, strings::set),
    grow("setex", 4, ONE, strings::setex),
    grow("setnx", 3, ONE, strings::setnx),
    grow("setrange", 4, ONE, strings::setrange),
    read("sismember", 3, ONE, sets::sismember),
    read("smembers", 2, ONE, sets::smembers),
    change("spop", -2, ONE, sets::spop),
    read("srandmember", -2, ONE, sets::srandmember),
    change("srem", -3, ONE, sets::srem),
    read("sscan", -3, ONE, scan::sscan),
    read("strlen", 2, ONE, strings::strlen),
    read("time", 1, NONE, server::time),
    read("touch", -2, ALL, keys::exists),
    read("ttl", 2, ONE, expiry::ttl),
    read("type", 2, ONE, keys::type_name),
    change("unlink", -2, ALL, keys::del),
    grow("zadd", -4, ONE, zsets::zadd),
    read("zcard", 2, ONE, zsets::zcard),
    read("zcount", 4, ONE, zsets::zcount),
    grow("zincrby", 4, ONE, zsets::zincrby),
    change("zpopmax", -2, ONE, zsets::zpopmax),
    change("zpopmin", -2, ONE, zsets::zpopmin),
    read("zrange", -4, ONE, zsets::zrange),
    read("zrangebyscore", -4, ONE, zsets::zrangebyscore),
    read("zrank", 3, ONE, zsets::zrank),
    change("zrem", -3, ONE, zsets::zrem),
    read("zscan", -3, ONE, scan::zscan),
    read("zscore", 3, ONE, zsets::zscore),
];

#[cfg(test)]
mod tests {
    use super::super::context::find;
    use super::*;

    #[test]
    fn the_table_is_sorted_and_finds_each_command() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for command in &TABLE {
            let found = find(&TABLE, command.name.to_uppercase().as_bytes());
            assert_eq!(found.map(|found| found.name), Some(command.name));
        }
        assert!(find(&TABLE, b"").is_none());
        assert!(find(&TABLE, &[b'x'; 100]).is_none());
    }
}
