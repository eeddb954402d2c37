"""The authorisation server: who signs in, what they let an application do, and its tokens."""
