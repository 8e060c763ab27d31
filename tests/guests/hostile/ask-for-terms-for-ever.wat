;; expect: 504 plugin-deadline deadline
;; world: import hospes:plugin/call@0.1.0; export run: func();
(module (import "hospes:plugin/call@0.1.0" "terms" (func $terms (param i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "run") (loop $l (call $terms (i32.const 16)) (br $l))))
