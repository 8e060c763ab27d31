;; world: export things: interface { resource thing { constructor(how: u32, bytes: list<u8>); get: func() -> u32; } take: func(things: list<thing>) -> u32; }
;; functions: run=things#take get=things#[method]thing.get
;; A resource whose constructor does what `how` says: 0 succeeds, 1 loops, 2 traps, 3 returns a handle that it does not own.
(module
  (import "[export]things" "[resource-new]thing" (func $new (param i32) (result i32)))
  (memory (export "memory") 64)
  (global $next (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "things#[constructor]thing") (param $how i32) (param i32 i32) (result i32)
    (if (i32.eq (local.get $how) (i32.const 1)) (then (loop $on (br $on))))
    (if (i32.eq (local.get $how) (i32.const 2)) (then unreachable))
    (if (i32.eq (local.get $how) (i32.const 3)) (then (return (i32.const 12345))))
    (call $new (i32.const 77)))
  (func (export "things#[method]thing.get") (param i32) (result i32) (local.get 0))
  (func (export "things#take") (param i32 i32) (result i32) (local.get 1)))
