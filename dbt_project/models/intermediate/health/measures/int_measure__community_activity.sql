-- Posts, comments and votes of the customer's contacts in the last 90 days.
{% set totals = running_totals(summed_in_days(ref('int_community_acts__attributed'), 'acted_date', {'counted': '1'}, 90), ['counted']) %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

totals as (

    select * from {{ totals }} as running

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast(totals.counted as double precision) as raw_value,
        customer_days.community_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date

)

select * from final
