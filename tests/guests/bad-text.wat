;; world: export run: func() -> string;
;; Returns bytes that are not UTF-8.
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\02\00\00\00\ff\fe")
  (func (export "run") (result i32) (i32.const 0)))
