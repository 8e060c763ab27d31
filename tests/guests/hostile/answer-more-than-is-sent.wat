;; expect: 502 output-refused output-too-large
;; world: export run: func() -> list<u8>;
(module (memory (export "memory") 1000)
  (data (i32.const 0) "\08\00\00\00\00\00\00\03")
  (func (export "run") (result i32) (i32.const 0)))
