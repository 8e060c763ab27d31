;; expect: 502 plugin-failed stack-overflow
;; world: export run: func(text: string);
;; body: {"text": "a"}
(module (memory (export "memory") 1)
  (func $r (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.add (i32.const 1) (call $r (local.get 0) (local.get 1) (local.get 2) (local.get 3))))
  (func (export "run") (param i32 i32)))
