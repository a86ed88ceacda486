"""Pictures for people to look at: contact sheets, the embedded clip, the README's picture."""
