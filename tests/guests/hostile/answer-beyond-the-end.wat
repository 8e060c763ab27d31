;; expect: 502 plugin-failed trap
;; world: export run: func() -> string;
(module (memory (export "memory") 1) (func (export "run") (result i32) (i32.const 65532)))
