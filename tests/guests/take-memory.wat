;; world: export run: func(pages: u32, spin: bool) -> u32;
;; Takes `pages` pages of memory. Returns how many bytes it then has, or keeps them until its deadline.
(module
  (memory (export "memory") 1)
  (func (export "run") (param $pages i32) (param $spin i32) (result i32)
    (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then unreachable))
    (if (local.get $spin) (then (loop $again (br $again))))
    (i32.shl (memory.size) (i32.const 16))))
