-- Days in the last 28 on which anybody at the customer worked in the product.
{{ usage_measure(value='count(distinct usage_daily.usage_date)', days=28) }}
