;; expect: 502 plugin-failed trap
;; world: export run: func() -> list<u64>;
(module (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\ff\ff\ff\ff")
  (func (export "run") (result i32) (i32.const 0)))
