-- For how many days a payment has been outstanding; 0 where none is.
{%- set standing -%}
    (
        select
            stripe_customer_id as customer_id,
            status,
            cast(valid_from as date) as from_date,
            case when valid_to <= {{ as_of_at() }} then cast(valid_to as date) end as to_date
        from {{ ref('stg_stripe__subscription_versions') }}
        where status in ('past_due', 'unpaid')
    )
{%- endset %}
{%- set changes -%}
    (
        select customer_id, from_date as on_date, 1 as outstanding from {{ standing }} as came
        union all
        select customer_id, to_date as on_date, -1 as outstanding from {{ standing }} as went where to_date is not null
    )
{%- endset %}
{%- set begun = '(select customer_id, from_date as on_date from ' ~ standing ~ ' as standing)' %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

totals as (

    select * from {{ running_totals(changes, ['outstanding']) }} as running

),

last_begun as (

    select * from {{ last_day_of(begun) }} as last_days

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast(case
            when totals.outstanding > 0 then 1 + {{ days_between('last_begun.last_date', 'customer_days.as_of_date') }}
            else 0
        end as double precision) as raw_value,
        customer_days.billing_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date
    inner join last_begun
        on
            customer_days.customer_id = last_begun.customer_id
            and customer_days.as_of_date = last_begun.as_of_date

)

select * from final
