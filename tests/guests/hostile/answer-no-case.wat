;; expect: 502 plugin-failed trap
;; world: export run: func() -> colour; enum colour { red, green }
(module (func (export "run") (result i32) (i32.const 7)))
