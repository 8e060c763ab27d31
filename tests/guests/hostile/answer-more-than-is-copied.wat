;; expect: 502 plugin-failed hostcall-limit
;; world: export run: func() -> list<u8>;
(module (memory (export "memory") 2000)
  (data (i32.const 0) "\08\00\00\00\00\00\00\07")
  (func (export "run") (result i32) (i32.const 0)))
