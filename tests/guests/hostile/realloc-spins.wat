;; expect: 504 plugin-deadline deadline
;; world: export run: func(text: string);
;; body: {"text": "a"}
(module (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) unreachable)
  (func (export "run") (param i32 i32)))
