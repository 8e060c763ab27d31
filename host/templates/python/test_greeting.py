import unittest

from greeting import greeting


class Greeting(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(greeting("Zoe"), "Hello, Zoe!")
