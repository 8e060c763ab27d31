;; world: import hospes:plugin/language@0.2.0; export ask: func(model: string) -> u32;
;; Counts the tokens of an empty prompt. Returns 100 and the reason if the host refuses, else the number.
(module
  (import "hospes:plugin/language@0.2.0" "count" (func $count (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "ask") (param i32 i32) (result i32)
    (call $count (local.get 0) (local.get 1) (i32.const 0) (i32.const 0) (i32.const 16))
    (if (result i32) (i32.load8_u (i32.const 16))
      (then (i32.add (i32.const 100) (i32.load8_u (i32.const 20))))
      (else (i32.load (i32.const 20))))))
