with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at', ties=['subscription_id', 'price_id', 'amount', 'quantity']) }} as load_rank
    from {{ stripe('invoice_line_item') }}

),

renamed as (

    select
        ---------- ids
        id as invoice_line_item_id,
        invoice_id,
        subscription_id,
        price_id,
        ---------- attributes
        {{ quantity_sold('quantity') }} as quantity,
        {{ minor_units('amount') }} as amount_minor,
        lower(currency) as currency,
        {{ true_or_false('proration') }} as is_proration,
        ---------- timestamps
        {{ utc_timestamp('period_start') }} as period_started_at,
        {{ utc_timestamp('period_end') }} as period_ends_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

)

select * from renamed
