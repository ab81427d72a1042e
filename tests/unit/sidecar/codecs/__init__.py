"""Unit tests of protocols as functions over bytes."""
