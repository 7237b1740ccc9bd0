with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at', ties=['status', 'customer_id', 'amount_remaining']) }} as load_rank
    from {{ stripe('invoice') }}

),

renamed as (

    select
        ---------- ids
        id as invoice_id,
        customer_id as stripe_customer_id,
        subscription_id,
        ---------- attributes
        lower(status) as status,
        lower(currency) as currency,
        {{ minor_units('amount_due') }} as amount_due_minor,
        {{ minor_units('amount_remaining') }} as amount_remaining_minor,
        ---------- timestamps
        -- Stripe closes the period when it makes the invoice out
        coalesce({{ utc_timestamp('created') }}, {{ utc_timestamp('period_end') }}) as created_at,
        {{ utc_timestamp('due_date') }} as due_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
