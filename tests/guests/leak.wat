;; world: export run: func(secret: u32) -> list<guess>; export refuse: func(secret: u32) -> result<list<guess>, string>; export trap: func(secret: u32) -> list<guess>; export flood: func(secret: u32) -> list<guess>; record guess { label: string, score: f32, extra: f64, note: u64 }
;; Hides a secret in every part of its result that the agreement withholds: other fields, the order of entries, digits, the payload of
;; a NaN, the number of entries, a refusal's text, a failure, a size. The two best entries are always the same.
(module
  (memory (export "memory") 64)
  (data (i32.const 16) "cat")
  (data (i32.const 32) "dog")
  (data (i32.const 48) "owl")
  (global $next (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get $size)) (i32.const 15)) (i32.const -16)))
    (local.get $at))
  ;; An entry of 32 bytes: label at 0 and 4, score at 8, extra at 16, note at 24.
  (func $entry (param $at i32) (param $label i32) (param $score f32) (param $secret i32)
    (i32.store (local.get $at) (local.get $label))
    (i32.store offset=4 (local.get $at) (i32.const 3))
    (f32.store offset=8 (local.get $at) (local.get $score))
    (f64.store offset=16 (local.get $at) (f64.convert_i32_u (local.get $secret)))
    (i64.store offset=24 (local.get $at) (i64.extend_i32_u (local.get $secret))))
  ;; The list is at 1024; its pointer and length are at 512.
  (func $list (param $secret i32) (result i32)
    (local $odd i32)
    (local.set $odd (i32.and (local.get $secret) (i32.const 1)))
    ;; The secret's first bit is the order of the two best.
    (call $entry (i32.add (i32.const 1024) (i32.mul (local.get $odd) (i32.const 32))) (i32.const 16)
      ;; 0.91 and further digits.
      (f32.add (f32.const 0.91) (f32.mul (f32.convert_i32_u (i32.and (local.get $secret) (i32.const 15))) (f32.const 0.0001)))
      (local.get $secret))
    (call $entry (i32.sub (i32.const 1056) (i32.mul (local.get $odd) (i32.const 32))) (i32.const 32)
      (f32.const 0.05) (local.get $secret))
    ;; Below the two best: a NaN that contains the secret, and as many more entries as the secret says.
    (call $entry (i32.const 1088) (i32.const 48)
      (f32.reinterpret_i32 (i32.or (i32.const 0x7fc00000) (i32.and (local.get $secret) (i32.const 0x3fffff)))) (local.get $secret))
    (call $entry (i32.const 1120) (i32.const 48) (f32.const 0.001) (local.get $secret))
    (i32.store (i32.const 512) (i32.const 1024))
    (i32.store (i32.const 516) (i32.add (i32.const 3) (local.get $odd)))
    (i32.const 512))
  (func (export "run") (param $secret i32) (result i32) (call $list (local.get $secret)))
  ;; `err` with the secret as its text.
  (func (export "refuse") (param $secret i32) (result i32)
    (i32.store (i32.const 600) (local.get $secret))
    (i32.store8 (i32.const 603) (i32.const 0x41))
    (i32.store (i32.const 512) (i32.const 1))
    (i32.store (i32.const 516) (i32.const 603))
    (i32.store (i32.const 520) (i32.add (i32.const 0) (i32.and (local.get $secret) (i32.const 1))))
    (i32.const 512))
  ;; One kind of trap or another.
  (func (export "trap") (param $secret i32) (result i32)
    (if (i32.and (local.get $secret) (i32.const 1)) (then unreachable))
    (i32.load (i32.const -4)))
  ;; More bytes than may be released; their number depends on the secret.
  (func (export "flood") (param $secret i32) (result i32)
    (i32.store (i32.const 512) (i32.const 1024))
    (i32.store (i32.const 516) (i32.add (i32.const 30) (i32.and (local.get $secret) (i32.const 15))))
    (i32.const 512)))
