;; expect: 502 plugin-failed trap
;; world: export run: func(text: string);
;; body: {"text": "abcdefgh"}
(module (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65534))
  (func (export "run") (param i32 i32)))
