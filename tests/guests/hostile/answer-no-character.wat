;; expect: 502 plugin-failed trap
;; world: export run: func() -> char;
(module (func (export "run") (result i32) (i32.const 0xd800)))
