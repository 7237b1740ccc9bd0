with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'invoice_line_item') }}

),

renamed as (

    select
        ---------- ids
        id as invoice_line_item_id,
        invoice_id,
        subscription_id,
        plan_id as price_id,
        ---------- attributes
        {{ whole_number('quantity') }} as quantity,
        {{ whole_number('amount') }} as amount_minor,
        lower(currency) as currency,
        {{ true_or_false('proration') }} as is_proration,
        ---------- timestamps
        {{ utc_timestamp('period_start') }} as period_started_at,
        {{ utc_timestamp('period_end') }} as period_ends_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

)

select * from renamed
