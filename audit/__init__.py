# Empty on purpose: strangers run the verifier without the rest of KeyChest.
