"""What the scripts share and a reader of them would not edit."""
