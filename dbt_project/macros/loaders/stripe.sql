{#
    Stripe in one shape, whoever landed it: `from {{ stripe('invoice') }}`. Left is the name that staging reads, which
    is Fivetran's; right the path in Stripe's API, which dlt and Airbyte follow. Names of tables by loader stand as
    `identifier` in models/staging/stripe/_stripe__sources.yml.

                    Fivetran                    dlt                          Airbyte
    an id           customer_id                 customer                     customer
    a moment        timestamp                   epoch seconds                epoch seconds, some as text
    nested          recurring_interval          recurring__interval          JSON in recurring
    metadata        JSON text                   metadata__<key>              JSON
    items, lines    a table                     children of their parent     a table
    deleted         is_deleted                  no row                       is_deleted
    landed          _fivetran_synced            _dlt_loads.inserted_at       _airbyte_extracted_at
    versions        SUBSCRIPTION_HISTORY or,    none                         none
                    as it is now, SUBSCRIPTION
    discounts       a table                     discount__id and so on       JSON in discount
                                                of subscription, customer    of both

    API 2025-03-31 moved the period from the subscription to its items and the invoice's subscription under `parent`.
    https://docs.stripe.com/changelog/basil/2025-03-31/deprecate-subscription-current-period-start-and-end
#}
{% macro stripe(table) -%}
    {%- set columns = {
        'customer': {
            'id': 'id',
            'name': 'name',
            'email': 'email',
            'currency': 'currency',
            'address_country': 'address.country',
            'workspace_id': 'metadata.workspace_id',
            'created': 'created',
        },
        'subscription_history': {
            'id': 'id',
            'customer_id': 'customer',
            'status': 'status',
            'quantity': 'quantity',
            'cancel_at_period_end': 'cancel_at_period_end',
            'created': 'created',
            'start_date': 'start_date',
            'trial_start': 'trial_start',
            'trial_end': 'trial_end',
            'current_period_start': 'current_period_start',
            'current_period_end': 'current_period_end',
            'cancel_at': 'cancel_at',
            'canceled_at': 'canceled_at',
            'ended_at': 'ended_at',
            '_fivetran_start': '_fivetran_start',
            '_fivetran_end': '_fivetran_end',
            '_fivetran_active': '_fivetran_active',
        },
        'subscription_item': {
            'id': 'id',
            'subscription_id': 'subscription',
            'price_id': 'price.id|plan.id',
            'quantity': 'quantity',
            'created': 'created',
            'current_period_start': 'current_period_start',
            'current_period_end': 'current_period_end',
        },
        'price': {
            'id': 'id',
            'product_id': 'product',
            'currency': 'currency',
            'unit_amount': 'unit_amount',
            'recurring_interval': 'recurring.interval',
            'recurring_interval_count': 'recurring.interval_count',
        },
        'product': {
            'id': 'id',
            'name': 'name',
        },
        'invoice': {
            'id': 'id',
            'customer_id': 'customer',
            'subscription_id': 'subscription|parent.subscription_details.subscription',
            'status': 'status',
            'currency': 'currency',
            'amount_due': 'amount_due',
            'amount_remaining': 'amount_remaining',
            'created': 'created',
            'period_end': 'period_end',
            'due_date': 'due_date',
        },
        'invoice_line_item': {
            'id': 'id',
            'invoice_id': 'invoice',
            'subscription_id': 'subscription|parent.subscription_item_details.subscription',
            'price_id': 'price.id|plan.id|pricing.price_details.price',
            'quantity': 'quantity',
            'amount': 'amount',
            'currency': 'currency',
            'proration': 'proration|parent.subscription_item_details.proration',
            'period_start': 'period.start',
            'period_end': 'period.end',
        },
        'coupon': {
            'id': 'id',
            'name': 'name',
            'percent_off': 'percent_off',
            'amount_off': 'amount_off',
            'currency': 'currency',
            'duration': 'duration',
            'duration_in_months': 'duration_in_months',
            'valid': 'valid',
            'created': 'created',
        },
        'discount': {
            'id': 'id',
            'coupon_id': 'coupon.id',
            'customer_id': 'customer',
            'subscription_id': 'subscription',
            'type': 'type',
            'start': 'start',
            'end': 'end',
        },
    } -%}
    {%- set parents = {
        'subscription_item': {'table': 'subscription_history', 'key': 'subscription_id'},
        'invoice_line_item': {'table': 'invoice', 'key': 'invoice_id'},
    } -%}
    {%- if table == 'discount' and var('sources').stripe.loader != 'fivetran' -%}
    (
        -- the one that the last row of a subscription or of a customer carries
        select
            id,
            coupon_id,
            customer_id,
            subscription_id,
            type,
            {{ adapter.quote('start') }},
            {{ adapter.quote('end') }},
            _landed_at,
            _is_deleted
        from (
            {%- for type, owner in {'subscription': 'subscription_history', 'customer': 'customer'}.items() %}
            select
                *,
                '{{ type }}' as type,
                {{ load_rank('owner_id', '_landed_at') }} as load_rank
            from {{ landed('stripe', owner, {
                'owner_id': 'id',
                'id': 'discount.id',
                'coupon_id': 'discount.coupon.id',
                'customer_id': 'id' if type == 'customer' else 'customer',
                'subscription_id': 'id' if type == 'subscription' else 'discount.subscription',
                'start': 'discount.start',
                'end': 'discount.end',
            }) }}
            {%- if not loop.last %}

            union all
            {% endif %}
            {%- endfor %}
        ) as ranked
        where
            load_rank = 1
            and id is not null
    ) as landed
    {%- else -%}
    {{- landed(
        'stripe',
        table,
        columns[table],
        instead=['subscription'] if table == 'subscription_history' else [],
        optional=table in ('product', 'invoice', 'invoice_line_item', 'coupon', 'discount'),
        parent=parents.get(table)
    ) -}}
    {%- endif -%}
{%- endmacro %}
