;; world: export run: func(text: string) -> u32;
;; Says that there is room for its argument at the very end of its memory, where there is none.
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0xfffffff0))
  (func (export "run") (param i32 i32) (result i32) (i32.const 0)))
